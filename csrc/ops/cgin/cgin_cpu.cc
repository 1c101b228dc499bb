#include "core/context.h"
#include "core/moments.h"
#include "core/parallel.h"
#include "ops/cgin/cgin_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

struct Statistics {
  float mean[kColumns], mean_rest[kColumns], sigma[kColumns], inverse_sigma[kColumns];
};

ColumnGroup columns_of(const CginTensor& tensor, std::int64_t b, std::int64_t first, int columns) {
  return {tensor.data + b * tensor.stride_b + first * tensor.stride_d, tensor.stride_t, tensor.stride_d, columns,
          DType::kFloat32};
}

void measure(const ColumnGroup& features, std::int64_t length, double eps, float* buffer, Statistics* statistics) {
  double means[kColumns] = {}, squares[kColumns] = {};
  for (std::int64_t t = 0; t < length; t += kColumnBlock) {
    const std::int64_t rows = length - t < kColumnBlock ? length - t : kColumnBlock;
    const float* x;
    const std::int64_t pitch = column_rows(features, t, rows, buffer, &x);
    add_column_block(x, pitch, rows, static_cast<double>(t), means, squares);
  }
  for (int c = 0; c < kColumns; ++c) {
    const double sigma = sqrt(squares[c] / static_cast<double>(length) + eps);
    statistics->mean[c] = static_cast<float>(means[c]);
    statistics->mean_rest[c] = static_cast<float>(means[c] - static_cast<double>(statistics->mean[c]));
    statistics->sigma[c] = static_cast<float>(sigma);
    statistics->inverse_sigma[c] = static_cast<float>(1.0 / sigma);
  }
}

// `gamma` and `theta` are rows kColumns wide, `pitch` floats apart (0: the same row for every t).
struct Rows {
  const float* data;
  std::int64_t pitch;
};

void modulate_rows(Rows x, Rows gamma, Rows theta, const Statistics& s, float gamma_1, std::int64_t rows, int columns,
                   float* out, std::int64_t out_pitch) {
  for (int c = 0; c < columns; c += kLanes) {
    const VFloat mean = load(s.mean + c), rest = load(s.mean_rest + c), inverse = load(s.inverse_sigma + c);
    const int width = columns - c < kLanes ? columns - c : kLanes;
    for (std::int64_t r = 0; r < rows; ++r) {
      const VFloat normalised = cgin_normalise(load(x.data + r * x.pitch + c), mean, rest, inverse);
      const VFloat value = cgin_modulate(normalised, load(gamma.data + r * gamma.pitch + c),
                                         load(theta.data + r * theta.pitch + c), gamma_1);
      float* to = out + r * out_pitch + c;
      if (width == kLanes) {
        store(value, to);
      } else {
        float lanes[kLanes];
        store(value, lanes);
        for (int i = 0; i < width; ++i) to[i] = lanes[i];
      }
    }
  }
}

struct Buffers {
  float x[kColumnBlock * kColumns], gamma[kColumnBlock * kColumns], theta[kColumnBlock * kColumns];
};

void run_group(const CginArgs& args, std::int64_t b, std::int64_t first, int columns) {
  const std::int64_t length = cgin_length(args, b);
  Buffers buffers;
  Statistics statistics[2];
  for (int k = 0; k < 2; ++k) {
    measure(columns_of(args.branch[k].features, b, first, columns), length, args.eps, buffers.x, &statistics[k]);
  }
  for (int k = 0; k < 2; ++k) {
    const CginBranch& branch = args.branch[k];
    const Statistics& guide = statistics[1 - k];
    float* out = args.out + b * args.time * 2 * args.width + k * args.width + first;
    const std::int64_t out_pitch = 2 * args.width;
    for (std::int64_t t = 0; t < length; t += kColumnBlock) {
      const std::int64_t rows = length - t < kColumnBlock ? length - t : kColumnBlock;
      Rows x, gamma{guide.sigma, 0}, theta{guide.mean, 0};
      x.pitch = column_rows(columns_of(branch.features, b, first, columns), t, rows, buffers.x, &x.data);
      if (!args.adain) {
        gamma.pitch = column_rows(columns_of(branch.gamma, b, first, columns), t, rows, buffers.gamma, &gamma.data);
        theta.pitch = column_rows(columns_of(branch.theta, b, first, columns), t, rows, buffers.theta, &theta.data);
      }
      modulate_rows(x, gamma, theta, statistics[k], args.gamma_1, rows, columns, out + t * out_pitch, out_pitch);
    }
    for (std::int64_t t = length; t < args.time; ++t)
      for (int c = 0; c < columns; ++c) out[t * out_pitch + c] = 0;
  }
}

}  // namespace

void cgin_cpu(const Context& context, const CginArgs& args);

void cgin_cpu(const Context& context, const CginArgs& args) {
  const std::int64_t groups = (args.width + kColumns - 1) / kColumns;
  parallel_for(context.threads, args.batch * groups, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t first = item % groups * kColumns;
      const std::int64_t left = args.width - first;
      run_group(args, item / groups, first, static_cast<int>(left < kColumns ? left : kColumns));
    }
  });
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
