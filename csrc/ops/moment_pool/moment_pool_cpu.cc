#include "core/context.h"
#include "core/parallel.h"
#include "ops/moment_pool/moment_pool_maps.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

double* partial(const MomentPoolArgs& a, std::int64_t n, std::int64_t c, std::int64_t chunk) {
  return a.partial + ((n * a.x.channels + c) * a.chunks + chunk) * 2;
}

// Channels far apart: one (image, channel, chunk) at a time, along the pixels.
template <typename Real>
void pool_planes(const Context& context, const MomentPoolArgs& a) {
  const std::int64_t pixels = a.x.height * a.x.width;
  const bool packed = packed_planes(a.x);
  const std::int64_t grain = pixels >= 16384 ? 1 : 16384 / pixels;
  parallel_for(context.threads, a.x.images * a.x.channels * a.chunks, grain, [&](std::int64_t begin, std::int64_t end) {
    Real buffer[kRowBlock];
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t plane = a.chunks == 1 ? item : item / a.chunks, chunk = item - plane * a.chunks;
      const std::int64_t n = plane / a.x.channels, c = plane % a.x.channels;
      const std::int64_t last = chunk_begin(pixels, a.chunks, chunk + 1);
      Moments moments;
      for (std::int64_t p = chunk_begin(pixels, a.chunks, chunk); p < last; p += kRowBlock) {
        const std::int64_t count = last - p < kRowBlock ? last - p : kRowBlock;
        add_row_block(plane_block(a.x, n, c, p, count, packed, buffer), count, &moments);
      }
      partial(a, n, c, chunk)[0] = moments.mean;
      partial(a, n, c, chunk)[1] = moments.squares;
    }
  });
}

// Channels next to each other: one (image, chunk, group of channels) at a time, down the pixels.
template <typename Real>
void pool_columns(const Context& context, const MomentPoolArgs& a) {
  constexpr int kColumns = kColumnsOf<Real>;
  const std::int64_t pixels = a.x.height * a.x.width;
  const std::int64_t groups = (a.x.channels + kColumns - 1) / kColumns;
  const std::int64_t grain = pixels >= 512 ? 1 : 512 / pixels;
  parallel_for(context.threads, a.x.images * a.chunks * groups, grain, [&](std::int64_t begin, std::int64_t end) {
    Real buffer[kColumnBlock * kColumns];
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t group = item % groups, chunk = item / groups % a.chunks, n = item / groups / a.chunks;
      const std::int64_t first = group * kColumns;
      const std::int64_t left = a.x.channels - first;
      const int columns = static_cast<int>(left < kColumns ? left : kColumns);
      const std::int64_t start = chunk_begin(pixels, a.chunks, chunk);
      const std::int64_t last = chunk_begin(pixels, a.chunks, chunk + 1);
      double means[kColumns] = {}, squares[kColumns] = {};
      for_each_column_block(a.x, n, first, columns, start, last, buffer,
                            [&](std::int64_t p, std::int64_t rows, const Real* x, std::int64_t pitch) {
                              add_column_block(x, pitch, rows, static_cast<double>(p - start), means, squares);
                            });
      for (int c = 0; c < columns; ++c) {
        partial(a, n, first + c, chunk)[0] = means[c];
        partial(a, n, first + c, chunk)[1] = squares[c];
      }
    }
  });
}

template <typename Real>
void run(const Context& context, const MomentPoolArgs& args) {
  const MomentPoolMaps& x = args.x;
  const int size = item_size(x.dtype);
  const bool columns = x.stride_c == size && x.channels > 1 && !(x.stride_w == size && x.width > 1);
  columns ? pool_columns<Real>(context, args) : pool_planes<Real>(context, args);

  const std::int64_t pixels = x.height * x.width;
  for (std::int64_t n = 0; n < x.images; ++n) {
    for (std::int64_t c = 0; c < x.channels; ++c) {
      Moments moments;
      for (std::int64_t k = 0; k < args.chunks; ++k) {
        const double* part = partial(args, n, c, k);
        const std::int64_t count = chunk_begin(pixels, args.chunks, k + 1) - chunk_begin(pixels, args.chunks, k);
        moments.add(static_cast<double>(count), part[0], part[1]);
      }
      write_moments<Real>(args, n, c, moments);
    }
  }
}

}  // namespace

void moment_pool_cpu(const Context& context, const MomentPoolArgs& args);

void moment_pool_cpu(const Context& context, const MomentPoolArgs& args) {
  args.x.dtype == DType::kFloat64 ? run<double>(context, args) : run<float>(context, args);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
