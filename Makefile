# SPDX-License-Identifier: Apache-2.0
# Every target makes what it needs: the virtual environment, weights, converted models. `make` alone lists them.
# Variables pass through to facepipe; those left empty take facepipe's default.

PYTHON    ?= python3
BATCH     ?= 16
BACKEND   ?= onnxruntime
EMBEDDER  ?= facenet.vggface2
DETECTOR  ?= mtcnn
# From the environment or the command line alone: SOC (else the board is asked) DATA PAIRS RUN ALL PRECISION THREADS WORKERS AIPP DRY_RUN MODELS

# What `make quick` needs, which is no torch: an environment of its own for every Python that is named.
QUICK     := ort,fast,report,wider,gallery,video,heic,completion,dev
EXTRAS    := convert,ort,openvino,native,quantise,fast,report,wider,demo,gallery,video,heic,completion,train,dev
VENV      := .venv
READY     := $(VENV)/installed
FACEPIPE  := $(VENV)/bin/facepipe
NAMED     := $(filter-out file default,$(origin PYTHON))
VERSION    = $(shell $(call quoted,PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
QUICKLY    = $(if $(NAMED),.venv-$(VERSION),$(VENV))

# make -f from another folder: the rules name files of this one.
FILE      := $(strip $(MAKEFILE_LIST))
$(if $(filter-out Makefile $(abspath Makefile),$(FILE:./%=%)),$(error $(FILE) works in its own folder, and $(CURDIR) is \
  another. Try: make -C '$(FILE:/Makefile=)' $(MAKECMDGOALS)))

# What a person gives is text: make expands nothing in it (so: $(value NAME), and none of it goes into the environment,
# for which make would), and the shell is handed it in quotes. A list is cut at its spaces, each word quoted.
GIVEN     := PYTHON BATCH BACKEND EMBEDDER DETECTOR SOC DATA PAIRS RUN ALL PRECISION THREADS WORKERS AIPP DRY_RUN MODELS \
             ATC_OPTIONS CANN SHAPES PLAN PHOTOGRAPHS WEIGHTS OUT SET CFP SIZE PROTOCOL ONLY PARTS PAGE KILLS PICTURES SECONDS MUTANTS
unexport $(GIVEN)

define newline


endef
$(foreach name,$(GIVEN),$(if $(findstring $(newline),$(value $(name))),$(error $(name) has more than one line)))

# A variable that is misspelt would be passed over in silence.
UNKNOWN   := $(strip $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),\
             $(if $(filter $(GIVEN) VENV SHELL,$(name)),,$(name)))))

text       = '$(subst ','\'',$1)'
quoted     = $(call text,$(value $1))
list       = $(foreach word,$(value $1),$(call text,$(word)))
# option,variable: "--option 'value'" where the variable is set, nothing where it is not
option     = $(if $(value $2),--$1 $(call quoted,$2))
flag       = $(if $(filter-out 0,$(value $2)),--$1)

NEAREST    = import difflib, sys; x, *of = sys.argv[1:]; print(*difflib.get_close_matches(x.upper(), of, 1))
MEANT      = $(shell $(call quoted,PYTHON) -c '$(NEAREST)' $(call text,$(firstword $(UNKNOWN))) $(GIVEN))
$(if $(UNKNOWN),$(error $(firstword $(UNKNOWN)) is no variable of this Makefile, expected one of $(strip $(GIVEN)).$(if $(MEANT), \
  Try: $(MEANT)=)))

.DEFAULT_GOAL := help
.PHONY: help onnx om plan check rehearse lfw verify wider demo
.PHONY: test quick accept bench kill fuzz mutants load audit aarch64 lint docs dist clean

help:  ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

$(READY): pyproject.toml constraints.txt
	@$(call quoted,PYTHON) -c 'import sys; sys.exit("facepipe needs Python 3.10 or newer, and %s is %s. Try: make PYTHON=/path/to/python3.12" % (sys.executable, sys.version.split()[0]) if sys.version_info < (3, 10) else 0)'
	$(call quoted,PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

.venv-%/installed: pyproject.toml constraints.txt
	$(call quoted,PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(QUICK)]'
	@touch $@

onnx: $(READY)  ## weights to ONNX, parity after every step [MODELS="pnet rnet onet ..."]
	@$(FACEPIPE) fetch $(call quoted,DETECTOR)
	@$(FACEPIPE) onnx $(call list,MODELS)

# A dry run needs no weights, no ONNX files and no CANN.
om: $(READY)  ## ONNX to .om by Ascend's ATC [SOC BATCH PRECISION AIPP DRY_RUN MODELS CANN SHAPES PLAN PHOTOGRAPHS ATC_OPTIONS]
	@$(if $(filter-out 0,$(value DRY_RUN)),,$(FACEPIPE) fetch $(call quoted,DETECTOR) && $(FACEPIPE) onnx $(call list,MODELS))
	@$(FACEPIPE) om $(call list,MODELS) $(call option,soc,SOC) $(call option,batch,BATCH) \
	  $(call option,detector,DETECTOR) $(call option,embedder,EMBEDDER) \
	  $(call option,precision,PRECISION) $(call flag,aipp,AIPP) $(call flag,dry-run,DRY_RUN) $(call option,cann,CANN) \
	  $(if $(value ATC_OPTIONS),--atc-options=$(call quoted,ATC_OPTIONS)) \
	  $(call option,shapes,SHAPES) $(call option,plan,PLAN) $(call option,photographs,PHOTOGRAPHS) \
	  $(call option,weights,WEIGHTS)

plan: $(READY)  ## which input shapes photographs need, and the gears for them [PHOTOGRAPHS SOC BATCH PLAN]
	@$(FACEPIPE) plan $(if $(value PHOTOGRAPHS),$(call quoted,PHOTOGRAPHS)) $(call option,soc,SOC) $(call option,batch,BATCH) \
	  $(call option,out,PLAN)

check: $(READY)  ## will ATC take the ONNX files? [MODELS="weights/pnet.simplified.onnx ..." SOC CANN PRECISION]
	@$(FACEPIPE) check $(call list,MODELS) $(call option,soc,SOC) $(call option,cann,CANN) $(call option,precision,PRECISION)

rehearse: $(READY)  ## the run as an .om of a precision computes it, without a board [EMBEDDER DATA PAIRS BATCH PRECISION]
	@$(FACEPIPE) fetch $(call quoted,DETECTOR) $(call quoted,EMBEDDER) $(if $(value DATA),,lfw)
	@$(FACEPIPE) onnx $(call quoted,DETECTOR) $(call quoted,EMBEDDER)
	@$(FACEPIPE) rehearse $(call option,precision,PRECISION) $(call option,batch,BATCH) $(call option,detector,DETECTOR) \
	  $(call option,embedder,EMBEDDER) \
	  $(call option,data,DATA) $(call option,pairs,PAIRS) $(call option,out,OUT)

# A board runs .om files, which `make om` made, perhaps elsewhere: it needs neither weights nor ONNX.
lfw: $(READY)  ## photographs to LFW accuracy [BATCH BACKEND EMBEDDER DETECTOR DATA PAIRS CFP RUN ALL PRECISION THREADS WORKERS]
	@$(if $(value DATA),,$(FACEPIPE) fetch lfw)
	@$(FACEPIPE) fetch $(call quoted,DETECTOR) $(call quoted,EMBEDDER) $(call option,for-backend,BACKEND)
	@$(FACEPIPE) onnx $(call quoted,DETECTOR) $(call quoted,EMBEDDER) $(call option,for-backend,BACKEND)
	@$(if $(filter int8,$(value PRECISION)),$(FACEPIPE) quantise $(call quoted,EMBEDDER))
	@$(FACEPIPE) lfw $(call option,batch,BATCH) $(call option,backend,BACKEND) $(call option,embedder,EMBEDDER) \
	  $(call option,detector,DETECTOR) \
	  $(call option,data,DATA) $(call option,pairs,PAIRS) $(call option,cfp,CFP) $(call option,run,RUN) $(call flag,all,ALL) \
	  $(call option,precision,PRECISION) $(call option,threads,THREADS) $(call option,workers,WORKERS) \
	  $(call option,weights,WEIGHTS)

verify: $(READY)  ## a recogniser on a verification set [SET=lfw.bin, or a folder with PAIRS; EMBEDDER BATCH BACKEND THREADS RUN]
	@$(if $(value SET),,$(error SET is empty. Try: make verify SET=data/lfw.bin EMBEDDER=$(call quoted,EMBEDDER)))
	@$(FACEPIPE) fetch $(call quoted,EMBEDDER)
	@$(FACEPIPE) onnx $(call quoted,EMBEDDER)
	@$(FACEPIPE) verification $(call quoted,SET) $(call option,embedder,EMBEDDER) $(call option,batch,BATCH) \
	  $(call option,backend,BACKEND) \
	  $(call option,pairs,PAIRS) $(call option,cfp,CFP) $(call option,threads,THREADS) $(call option,run,RUN)

wider: $(READY)  ## a detector on WIDER FACE [DETECTOR SIZE PROTOCOL DATA RUN BACKEND PRECISION THREADS WORKERS]
	@$(FACEPIPE) fetch $(call quoted,DETECTOR)
	@$(FACEPIPE) onnx $(call quoted,DETECTOR)
	@$(if $(filter int8,$(value PRECISION)),$(FACEPIPE) quantise $(call quoted,DETECTOR))
	@$(FACEPIPE) wider $(call option,detector,DETECTOR) $(call option,backend,BACKEND) $(call option,size,SIZE) \
	  $(call option,protocol,PROTOCOL) $(call option,data,DATA) $(call option,run,RUN) $(call option,precision,PRECISION) \
	  $(call option,threads,THREADS) $(call option,workers,WORKERS)

demo: $(READY)  ## six real photographs recognised, then the whole job on a made sample; needs only the package index
	@$(FACEPIPE) demo

test: lint  ## every check a change must pass
	@$(FACEPIPE) fetch mtcnn
	@$(FACEPIPE) onnx
	@$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(if $(NAMED),--expect-python=$(VERSION))

quick:  ## the tests without weights, torch and processes, under a minute [PYTHON=python3.13]
	@$(MAKE) --no-print-directory $(QUICKLY)/installed $(if $(NAMED),PYTHON=$(call quoted,PYTHON))
	@$(QUICKLY)/bin/python -m pytest -n 2 --dist loadfile --quick --expect-python=$(VERSION)

accept: $(READY)  ## every promise of the project in full, into runs/accept.json [ONLY="name ..."]
	@$(VENV)/bin/python tests/acceptance $(call list,ONLY)

bench: $(READY)  ## speed beside facenet-pytorch, never accuracy, into runs/bench/bench.json [PARTS="end_to_end ..." PAGE]
	@$(FACEPIPE) fetch mtcnn facenet.seeded
	@$(FACEPIPE) onnx mtcnn facenet.seeded
	@$(FACEPIPE) quantise facenet.seeded
	@$(VENV)/bin/python -m benchmarks $(call list,PARTS) $(call option,page,PAGE)

kill: $(READY)  ## 200 random kills of `facepipe lfw`, one at every change of a file, and the other commands [KILLS]
	@$(FACEPIPE) fetch mtcnn
	@$(FACEPIPE) onnx mtcnn facenet.seeded
	@$(VENV)/bin/python tests/reliability kill $(call list,KILLS)

# Linux on x86 alone: atheris has no other wheels.
fuzz: $(READY)  ## 10,000 bad pictures, then every parser under atheris [PICTURES SECONDS of each parser]
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	@$(FACEPIPE) fetch mtcnn
	@$(FACEPIPE) onnx mtcnn facenet.seeded
	@$(VENV)/bin/python tests/reliability pictures $(call list,PICTURES)
	@set -e; for target in $$($(VENV)/bin/python tests/fuzz/run.py --list); do \
	  $(VENV)/bin/python tests/fuzz/run.py "$$target" -max_total_time=$(if $(value SECONDS),$(call quoted,SECONDS),60); done

mutants: $(READY)  ## small changes of the source that the tests should notice, into runs/mutants.json [MUTANTS of each room]
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	@$(FACEPIPE) fetch mtcnn
	@$(FACEPIPE) onnx mtcnn facenet.seeded
	@$(VENV)/bin/python tests/mutants $(call list,MUTANTS)

load: $(READY)  ## 100,000 photographs with two workers: flat memory, speed and files [PHOTOGRAPHS]
	@$(FACEPIPE) fetch mtcnn
	@$(FACEPIPE) onnx mtcnn
	@$(VENV)/bin/python tests/reliability load $(call list,PHOTOGRAPHS)

audit: $(READY)  ## known vulnerabilities of the pinned versions; asks the advisory database, so it needs a network
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit]'
	@$(VENV)/bin/python tests/reliability/audit.py

# Debian 12 on x86 alone, whose qemu-user it fetches; elsewhere it ends with one line.
aarch64: $(READY)  ## detection and embeddings on aarch64 under qemu-user, against this processor's [PHOTOGRAPHS]
	@$(FACEPIPE) fetch mtcnn
	@$(FACEPIPE) onnx mtcnn
	@$(if $(value PHOTOGRAPHS),,$(FACEPIPE) fetch portraits)
	@PYTHON=$(VENV)/bin/python PHOTOGRAPHS=$(if $(value PHOTOGRAPHS),$(call quoted,PHOTOGRAPHS),data/portraits) scripts/aarch64.sh

lint: $(READY)  ## style and types
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/mypy --no-error-summary

docs: $(READY)  ## docs/commands.md from the table of commands and their help
	@$(VENV)/bin/python docs/commands.py

# The wheel is built from the archive, never from `build/`, where a module that has gone would still lie.
dist: $(READY)  ## wheel and source archive, into dist/
	@$(VENV)/bin/python -m build --outdir dist .

clean:  ## environments, caches and runs go; weights and data stay
	rm -rf $(VENV) .venv-* runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
