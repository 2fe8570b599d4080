// SPDX-License-Identifier: Apache-2.0
// Faces of a photograph and their embeddings, without Python: detector, alignment and recogniser by OpenVINO.
//
//   faces retinaface.onnx mobilefacenet.ms1m.simplified.onnx photograph.ppm
//
// retinaface.onnx is written by `facepipe export retinaface.mobilenet0.25 --decoded`, the recogniser by `facepipe onnx`.
// Prints a line of JSON for each face, best score first: box and landmarks in pixels of the photograph, score, and an
// embedding of length 1. What each step does is what facepipe's own does: the file is named where the step begins.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

struct Image {  // RGB, row by row
    int height = 0, width = 0;
    std::vector<uint8_t> bytes;

    Image(int h, int w) : height(h), width(w), bytes(size_t(h) * w * 3) {}
    const uint8_t* at(int y, int x) const { return &bytes[(size_t(y) * width + x) * 3]; }
    uint8_t* at(int y, int x) { return &bytes[(size_t(y) * width + x) * 3]; }
};

struct Face {
    float score;
    std::array<float, 4> box;  // x1, y1, x2, y2
    std::array<float, 10> landmarks;  // x, y of left eye, right eye, nose, left and right corner of the mouth
};

// What the catalogue says of the two networks (src/facepipe/catalogue/retinaface.py, mobilefacenet.py).
constexpr float kThreshold = 0.5f, kOverlap = 0.4f;
constexpr size_t kCandidates = 5000, kFaces = 750;
constexpr std::array<double, 3> kDetectorMeanBgr = {104.0, 117.0, 123.0};
constexpr std::array<double, 3> kMeanRgb = {0.485 * 255, 0.456 * 255, 0.406 * 255};
constexpr std::array<double, 3> kScaleRgb = {1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255)};
constexpr int kCrop = 112;
constexpr std::array<double, 10> kTemplate = {38.2946, 51.6963, 73.5318, 51.5014, 56.0252,
                                              71.7366, 41.5493, 92.3655, 70.7299, 92.2041};

// A binary PPM of eight bits.
Image read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be read, expected a photograph as PPM.");
    auto number = [&file, &path]() {
        while (file >> std::ws && file.peek() == '#') file.ignore(1 << 20, '\n');
        int value = 0;
        if (!(file >> value) || value < 1 || value > 1 << 16)
            throw std::runtime_error(path + ": no header of a PPM, expected P6, width, height, 255.");
        return value;
    };
    char magic[2] = {};
    file.read(magic, 2);
    if (magic[0] != 'P' || magic[1] != '6') throw std::runtime_error(path + ": is no binary PPM, expected P6.");
    const int width = number(), height = number(), most = number();
    if (most != 255) throw std::runtime_error(path + ": has " + std::to_string(most) + " levels, expected 255.");
    file.get();  // one blank
    Image image(height, width);
    file.read(reinterpret_cast<char*>(image.bytes.data()), std::streamsize(image.bytes.size()));
    if (size_t(file.gcount()) != image.bytes.size())
        throw std::runtime_error(path + ": ends in the middle of its pixels.");
    return image;
}

// Which pixels an output pixel weighs, and how much, in 22 bits behind the point.
struct Weighed {
    int first;
    std::vector<int> weights;
};

std::vector<Weighed> bilinear_weights(int length, int count) {
    const double scale = double(length) / count, reach = std::max(scale, 1.0);
    std::vector<Weighed> all;
    for (int at = 0; at < count; ++at) {
        const double centre = (at + 0.5) * scale;
        const int first = std::max(int(centre - reach + 0.5), 0);
        const int end = std::min(int(centre + reach + 0.5), length);
        std::vector<double> shares;
        for (int pixel = first; pixel < end; ++pixel)
            shares.push_back(std::max(1 - std::abs((pixel - centre + 0.5) / reach), 0.0));
        const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
        Weighed one{first, {}};
        for (const double share : shares) one.weights.push_back(int(0.5 + share / sum * (1 << 22)));
        all.push_back(one);
    }
    return all;
}

// Bilinear, every pixel that an output pixel covers weighed: Pillow's, to the bit (geometry/fit.py, "smooth").
Image resized(const Image& image, int height, int width) {
    auto byte = [](int64_t sum) { return uint8_t(std::clamp<int64_t>((sum + (1 << 21)) >> 22, 0, 255)); };
    Image wide(image.height, width);
    const auto across = bilinear_weights(image.width, width), down = bilinear_weights(image.height, height);
    if (image.width == width) wide = image;
    for (int y = 0; image.width != width && y < image.height; ++y)
        for (int x = 0; x < width; ++x)
            for (int channel = 0; channel < 3; ++channel) {
                int64_t sum = 0;
                for (size_t i = 0; i < across[x].weights.size(); ++i)
                    sum += int64_t(image.at(y, across[x].first + int(i))[channel]) * across[x].weights[i];
                wide.at(y, x)[channel] = byte(sum);
            }
    if (image.height == height) return wide;
    Image whole(height, width);
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            for (int channel = 0; channel < 3; ++channel) {
                int64_t sum = 0;
                for (size_t i = 0; i < down[y].weights.size(); ++i)
                    sum += int64_t(wide.at(down[y].first + int(i), x)[channel]) * down[y].weights[i];
                whole.at(y, x)[channel] = byte(sum);
            }
    return whole;
}

float area(const std::array<float, 4>& box) { return (box[2] - box[0] + 1) * (box[3] - box[1] + 1); }

// Intersection over union; both corners count as part of a box (geometry/boxes.py, plus_one).
float overlap(const std::array<float, 4>& a, const std::array<float, 4>& b) {
    const float width = std::min(a[2], b[2]) - std::max(a[0], b[0]) + 1;
    const float height = std::min(a[3], b[3]) - std::max(a[1], b[1]) + 1;
    const float common = std::max(width, 0.f) * std::max(height, 0.f);
    const float whole = area(a) + area(b) - common;
    return whole > 0 ? common / whole : 0;
}

// Of faces that overlap too much the best scored stays (geometry/nms.py).
std::vector<Face> suppressed(std::vector<Face> waiting) {
    std::stable_sort(waiting.begin(), waiting.end(), [](const Face& a, const Face& b) { return a.score > b.score; });
    if (waiting.size() > kCandidates) waiting.resize(kCandidates);
    std::vector<Face> kept;
    for (const Face& face : waiting)
        if (std::none_of(kept.begin(), kept.end(),
                         [&face](const Face& better) { return overlap(better.box, face.box) > kOverlap; }))
            kept.push_back(face);
    return kept;
}

// A photograph's faces, best score first, cut to it (detect/single_shot.py).
std::vector<Face> detect(ov::CompiledModel& network, const Image& photograph) {
    const ov::Shape shape = network.input().get_shape();  // [1, 3, H, W]
    const int canvas_height = int(shape[2]), canvas_width = int(shape[3]);
    const double scale = std::min({double(canvas_height) / photograph.height,
                                   double(canvas_width) / photograph.width, 1.0});
    const int height = std::max(int(std::nearbyint(photograph.height * scale)), 1);
    const int width = std::max(int(std::nearbyint(photograph.width * scale)), 1);
    const Image fitted = resized(photograph, height, width);

    ov::Tensor input(ov::element::f32, shape);
    float* planes = input.data<float>();
    std::fill_n(planes, input.get_size(), 0.f);  // the mean colour beside the photograph
    for (int channel = 0; channel < 3; ++channel)
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x)
                planes[(size_t(channel) * canvas_height + y) * canvas_width + x] =
                    float(fitted.at(y, x)[2 - channel] - kDetectorMeanBgr[channel]);
    ov::InferRequest request = network.create_infer_request();
    request.set_input_tensor(input);
    request.infer();
    const ov::Tensor scores = request.get_tensor("scores"), boxes = request.get_tensor("boxes"),
                     landmarks = request.get_tensor("landmarks");

    // From fractions of the input to pixels of the photograph.
    const float across = float(double(canvas_width) * photograph.width / width);
    const float down = float(double(canvas_height) * photograph.height / height);
    std::vector<Face> candidates;
    for (size_t prior = 0; prior < scores.get_shape()[1]; ++prior) {
        Face face;
        face.score = scores.data<float>()[prior * 2 + 1];
        if (!(face.score > kThreshold)) continue;
        for (size_t i = 0; i < 4; ++i) face.box[i] = boxes.data<float>()[prior * 4 + i] * (i % 2 ? down : across);
        for (size_t i = 0; i < 10; ++i)
            face.landmarks[i] = landmarks.data<float>()[prior * 10 + i] * (i % 2 ? down : across);
        candidates.push_back(face);
    }
    std::vector<Face> faces;
    for (Face face : suppressed(candidates)) {
        for (size_t i = 0; i < 4; ++i)
            face.box[i] = std::clamp(face.box[i], 0.f, float(i % 2 ? photograph.height : photograph.width));
        if (face.box[2] > face.box[0] && face.box[3] > face.box[1] && faces.size() < kFaces) faces.push_back(face);
    }
    return faces;
}

// The face turned, scaled and moved so that its landmarks come closest to the template (geometry/align.py). Of a crop's
// pixel the place in the photograph is needed, so the transform goes from the template to the landmarks' plane, inverted.
Image aligned(const Image& photograph, const Face& face) {
    double from_x = 0, from_y = 0, to_x = 0, to_y = 0;
    for (size_t i = 0; i < 10; i += 2) {
        from_x += face.landmarks[i] / 5.0, from_y += face.landmarks[i + 1] / 5.0;
        to_x += kTemplate[i] / 5, to_y += kTemplate[i + 1] / 5;
    }
    double spread = 0, real = 0, imaginary = 0;
    for (size_t i = 0; i < 10; i += 2) {
        const double x = face.landmarks[i] - from_x, y = face.landmarks[i + 1] - from_y;
        const double u = kTemplate[i] - to_x, v = kTemplate[i + 1] - to_y;
        spread += x * x + y * y, real += x * u + y * v, imaginary += x * v - y * u;
    }
    const double square = real * real + imaginary * imaginary;
    if (spread == 0 || square == 0) throw std::runtime_error("alignment: the landmarks are all in one place.");
    // The inverse of the similarity (real, imaginary) / spread.
    const double a = real * spread / square, b = imaginary * spread / square;

    Image crop(kCrop, kCrop);  // black where the photograph ends
    for (int row = 0; row < kCrop; ++row)
        for (int column = 0; column < kCrop; ++column) {
            const double u = column - to_x, v = row - to_y;
            const double x = a * u + b * v + from_x, y = a * v - b * u + from_y;  // of pixels' centres
            if (x < -0.5 || y < -0.5 || x >= photograph.width - 0.5 || y >= photograph.height - 0.5) continue;
            const int left = int(std::floor(x)), top = int(std::floor(y));
            auto pixel = [&photograph](int py, int px) {
                return photograph.at(std::clamp(py, 0, photograph.height - 1), std::clamp(px, 0, photograph.width - 1));
            };
            for (int channel = 0; channel < 3; ++channel) {
                auto between = [&](int py) {
                    const double one = pixel(py, left)[channel], other = pixel(py, left + 1)[channel];
                    return one + (other - one) * (x - left);
                };
                const double above = between(top), below = between(top + 1);
                crop.at(row, column)[channel] = uint8_t(above + (below - above) * (y - top));
            }
        }
    return crop;
}

// The embedding of a crop, of length 1 (embed/embedder.py).
std::vector<float> embedding(ov::CompiledModel& network, const Image& crop) {
    ov::Tensor input(ov::element::f32, {1, 3, kCrop, kCrop});
    for (int channel = 0; channel < 3; ++channel)
        for (int y = 0; y < kCrop; ++y)
            for (int x = 0; x < kCrop; ++x)
                input.data<float>()[(channel * kCrop + y) * kCrop + x] =
                    float((crop.at(y, x)[channel] - kMeanRgb[channel]) * kScaleRgb[channel]);
    ov::InferRequest request = network.create_infer_request();
    request.set_input_tensor(input);
    request.infer();
    const ov::Tensor output = request.get_output_tensor();
    std::vector<float> numbers(output.data<float>(), output.data<float>() + output.get_size());
    double square = 0;
    for (const float number : numbers) square += double(number) * number;
    for (float& number : numbers) number = float(number / std::sqrt(square));
    return numbers;
}

template <typename Numbers>
void print(const char* name, const Numbers& numbers, const char* end) {
    std::printf("\"%s\": [", name);
    for (size_t i = 0; i < numbers.size(); ++i) std::printf("%s%.9g", i ? ", " : "", double(numbers[i]));
    std::printf("]%s", end);
}

int main(int count, char** words) {
    if (count != 4) {
        std::fprintf(stderr, "usage: faces DETECTOR.onnx RECOGNISER.onnx PHOTOGRAPH.ppm\n");
        return 2;
    }
    try {
        const Image photograph = read_ppm(words[3]);
        ov::Core core;
        // Without this a processor with bfloat16 computes in it.
        const ov::AnyMap options = {ov::hint::inference_precision(ov::element::f32)};
        ov::CompiledModel detector = core.compile_model(words[1], "CPU", options);
        if (detector.outputs().size() != 3)
            throw std::runtime_error(std::string(words[1]) + ": gives no scores, boxes and landmarks.");
        const std::shared_ptr<ov::Model> any_batch = core.read_model(words[2]);
        any_batch->reshape({1, 3, kCrop, kCrop});
        ov::CompiledModel recogniser = core.compile_model(any_batch, "CPU", options);
        for (const Face& face : detect(detector, photograph)) {
            std::printf("{");
            print("box", face.box, ", ");
            std::printf("\"score\": %.9g, ", double(face.score));
            print("landmarks", face.landmarks, ", ");
            print("embedding", embedding(recogniser, aligned(photograph, face)), "}\n");
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "faces: %s\n", error.what());
        return 1;
    }
    return 0;
}
