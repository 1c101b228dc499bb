#include "core/context.h"
#include "core/parallel.h"
#include "ops/moment_pool/moment_pool_maps.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr std::int64_t kPixelsPerItem = 16384;

// Writes `count` gradients as `dtype`, packed. `to` may hold them already.
void write_packed(const float* from, std::int64_t count, DType dtype, char* to) {
  if (dtype == DType::kFloat32) {
    if (reinterpret_cast<const char*>(from) != to) std::memcpy(to, from, static_cast<std::size_t>(count) * 4);
    return;
  }
  auto* packed = reinterpret_cast<std::uint16_t*>(to);
  const bool half = dtype == DType::kFloat16;
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    half ? store_half(load(from + i), packed + i) : store_bfloat16(load(from + i), packed + i);
  for (; i < count; ++i) packed[i] = half ? float_to_half(from[i]) : float_to_bfloat16(from[i]);
}

void write_packed(const double* from, std::int64_t count, DType, char* to) {
  if (reinterpret_cast<const char*>(from) != to) std::memcpy(to, from, static_cast<std::size_t>(count) * 8);
}

// Gradients of the result's own type are computed where they belong, others in a buffer.
template <typename Real>
Real* result_or(Real* buffer, DType dtype, char* to) {
  return dtype == kDTypeOf<Real> ? reinterpret_cast<Real*>(to) : buffer;
}

template <typename Real>
void differentiate_row(const Real* x, std::int64_t count, const MomentSlope<Real>& s, Real* out) {
  constexpr int kWidth = kLanesOf<Real>;
  const Vec<Real> mean = splat(s.mean), inverse = splat(s.inverse_sigma), base = splat(s.base), share = splat(s.share);
  std::int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store(moment_gradient(load(x + i), mean, inverse, base, share), out + i);
  for (; i < count; ++i) out[i] = moment_gradient(x[i], s.mean, s.inverse_sigma, s.base, s.share);
}

template <typename Real>
void planes(const Context& context, const MomentPoolBackwardArgs& a) {
  const MomentPoolMaps& x = a.x;
  const std::int64_t pixels = x.height * x.width, size = item_size(x.dtype);
  const bool packed = packed_planes(x);
  const std::int64_t grain = pixels >= kPixelsPerItem ? 1 : kPixelsPerItem / pixels;
  parallel_for(context.threads, x.images * x.channels, grain, [&](std::int64_t begin, std::int64_t end) {
    Real buffer[kRowBlock], results[kRowBlock];
    for (std::int64_t plane = begin; plane < end; ++plane) {
      const std::int64_t n = plane / x.channels, c = plane % x.channels;
      const MomentSlope<Real> slope = moment_slope<Real>(a, n, c);
      for (std::int64_t p = 0; p < pixels; p += kRowBlock) {
        const std::int64_t count = pixels - p < kRowBlock ? pixels - p : kRowBlock;
        char* to = a.d_x + (plane * pixels + p) * size;
        Real* out = result_or(results, x.dtype, to);
        differentiate_row(plane_block(x, n, c, p, count, packed, buffer), count, slope, out);
        write_packed(out, count, x.dtype, to);
      }
    }
  });
}

template <typename Real>
struct ColumnSlopes {
  static constexpr int kColumns = kColumnsOf<Real>;
  Real mean[kColumns] = {}, inverse_sigma[kColumns] = {}, base[kColumns] = {}, share[kColumns] = {};
};

template <typename Real>
void columns(const Context& context, const MomentPoolBackwardArgs& a) {
  constexpr int kColumns = kColumnsOf<Real>, kWidth = kLanesOf<Real>;
  const MomentPoolMaps& x = a.x;
  const std::int64_t pixels = x.height * x.width, size = item_size(x.dtype);
  const std::int64_t groups = (x.channels + kColumns - 1) / kColumns;
  const std::int64_t parts = (pixels * kColumns + kPixelsPerItem - 1) / kPixelsPerItem;
  parallel_for(context.threads, x.images * parts * groups, 1, [&](std::int64_t begin, std::int64_t end) {
    Real buffer[kColumnBlock * kColumns], results[kColumns];
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t group = item % groups, part = item / groups % parts, n = item / groups / parts;
      const std::int64_t first = group * kColumns;
      const std::int64_t left = x.channels - first;
      const int wide = static_cast<int>(left < kColumns ? left : kColumns);
      ColumnSlopes<Real> slopes;
      for (int c = 0; c < wide; ++c) {
        const MomentSlope<Real> slope = moment_slope<Real>(a, n, first + c);
        slopes.mean[c] = slope.mean;
        slopes.inverse_sigma[c] = slope.inverse_sigma;
        slopes.base[c] = slope.base;
        slopes.share[c] = slope.share;
      }
      const auto block = [&](std::int64_t p, std::int64_t rows, const Real* values, std::int64_t pitch) {
        for (std::int64_t r = 0; r < rows; ++r) {
          char* to = a.d_x + ((n * pixels + p + r) * x.channels + first) * size;
          Real* out = wide == kColumns ? result_or(results, x.dtype, to) : results;
          for (int c = 0; c < kColumns; c += kWidth) {
            store(moment_gradient(load(values + r * pitch + c), load(slopes.mean + c), load(slopes.inverse_sigma + c),
                                  load(slopes.base + c), load(slopes.share + c)),
                  out + c);
          }
          write_packed(out, wide, x.dtype, to);
        }
      };
      for_each_column_block(x, n, first, wide, chunk_begin(pixels, parts, part), chunk_begin(pixels, parts, part + 1),
                            buffer, block);
    }
  });
}

template <typename Real>
void run(const Context& context, const MomentPoolBackwardArgs& args) {
  args.channels_last ? columns<Real>(context, args) : planes<Real>(context, args);
}

}  // namespace

void moment_pool_backward_cpu(const Context& context, const MomentPoolBackwardArgs& args);

void moment_pool_backward_cpu(const Context& context, const MomentPoolBackwardArgs& args) {
  args.x.dtype == DType::kFloat64 ? run<double>(context, args) : run<float>(context, args);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
