#include "core/context.h"
#include "core/parallel.h"
#include "ops/moment_pool/moment_pool_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

// Address of pixel p (row-major) of channel c of image n.
inline const char* pixel(const MomentPoolArgs& a, std::int64_t n, std::int64_t c, std::int64_t p) {
  return a.x + n * a.stride_n + c * a.stride_c + (p / a.width) * a.stride_h + (p % a.width) * a.stride_w;
}

double* partial(const MomentPoolArgs& a, std::int64_t n, std::int64_t c, std::int64_t chunk) {
  return a.partial + ((n * a.channels + c) * a.chunks + chunk) * 2;
}

// Pixels [p, p + count) of one channel as contiguous floats: in place, or copied into buffer row by row.
const float* plane_block(const MomentPoolArgs& a, std::int64_t n, std::int64_t c, std::int64_t p, std::int64_t count,
                         bool packed, float* buffer) {
  const char* from = pixel(a, n, c, p);
  if (packed && a.dtype == DType::kFloat32) return reinterpret_cast<const float*>(from);
  if (packed) {
    gather(from, a.stride_w, a.dtype, count, buffer);
    return buffer;
  }
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t left_in_row = a.width - (p + done) % a.width;
    const std::int64_t here = left_in_row < count - done ? left_in_row : count - done;
    gather(pixel(a, n, c, p + done), a.stride_w, a.dtype, here, buffer + done);
    done += here;
  }
  return buffer;
}

// Channels far apart: one (image, channel, chunk) at a time, along the pixels.
void pool_planes(const Context& context, const MomentPoolArgs& a) {
  const std::int64_t pixels = a.height * a.width;
  const int size = item_size(a.dtype);
  const bool packed = a.stride_w == size && (a.height == 1 || a.stride_h == a.width * size);
  const std::int64_t grain = pixels >= 16384 ? 1 : 16384 / pixels;
  parallel_for(context.threads, a.images * a.channels * a.chunks, grain, [&](std::int64_t begin, std::int64_t end) {
    float buffer[kRowBlock];
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t chunk = item % a.chunks, plane = item / a.chunks;
      const std::int64_t n = plane / a.channels, c = plane % a.channels;
      const std::int64_t last = chunk_begin(pixels, a.chunks, chunk + 1);
      Moments moments;
      for (std::int64_t p = chunk_begin(pixels, a.chunks, chunk); p < last; p += kRowBlock) {
        const std::int64_t count = last - p < kRowBlock ? last - p : kRowBlock;
        add_row_block(plane_block(a, n, c, p, count, packed, buffer), count, &moments);
      }
      partial(a, n, c, chunk)[0] = moments.mean;
      partial(a, n, c, chunk)[1] = moments.squares;
    }
  });
}

// Channels next to each other: one (image, chunk, group of channels) at a time, down the pixels.
void pool_columns(const Context& context, const MomentPoolArgs& a) {
  const std::int64_t pixels = a.height * a.width;
  const std::int64_t groups = (a.channels + kColumns - 1) / kColumns;
  const std::int64_t grain = pixels >= 512 ? 1 : 512 / pixels;
  const bool even_rows = a.height == 1 || a.stride_h == a.width * a.stride_w;
  parallel_for(context.threads, a.images * a.chunks * groups, grain, [&](std::int64_t begin, std::int64_t end) {
    float buffer[kColumnBlock * kColumns];
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t group = item % groups, chunk = item / groups % a.chunks, n = item / groups / a.chunks;
      const std::int64_t first = group * kColumns;
      const std::int64_t left = a.channels - first;
      const int columns = static_cast<int>(left < kColumns ? left : kColumns);
      const std::int64_t start = chunk_begin(pixels, a.chunks, chunk);
      const std::int64_t last = chunk_begin(pixels, a.chunks, chunk + 1);
      double means[kColumns] = {}, squares[kColumns] = {};
      for (std::int64_t p = start; p < last;) {
        const std::int64_t in_row = even_rows ? last - p : a.width - p % a.width;
        std::int64_t rows = in_row < last - p ? in_row : last - p;
        if (rows > kColumnBlock) rows = kColumnBlock;
        const ColumnGroup source{pixel(a, n, first, p), a.stride_w, a.stride_c, columns, a.dtype};
        const float* x;
        const std::int64_t pitch = column_rows(source, 0, rows, buffer, &x);
        add_column_block(x, pitch, rows, static_cast<double>(p - start), means, squares);
        p += rows;
      }
      for (int c = 0; c < columns; ++c) {
        partial(a, n, first + c, chunk)[0] = means[c];
        partial(a, n, first + c, chunk)[1] = squares[c];
      }
    }
  });
}

}  // namespace

void moment_pool_cpu(const Context& context, const MomentPoolArgs& args);

void moment_pool_cpu(const Context& context, const MomentPoolArgs& args) {
  const int size = item_size(args.dtype);
  const bool columns = args.stride_c == size && args.channels > 1 && !(args.stride_w == size && args.width > 1);
  columns ? pool_columns(context, args) : pool_planes(context, args);

  const std::int64_t pixels = args.height * args.width;
  for (std::int64_t n = 0; n < args.images; ++n) {
    for (std::int64_t c = 0; c < args.channels; ++c) {
      Moments moments;
      for (std::int64_t k = 0; k < args.chunks; ++k) {
        const double* part = partial(args, n, c, k);
        const std::int64_t count = chunk_begin(pixels, args.chunks, k + 1) - chunk_begin(pixels, args.chunks, k);
        moments.add(static_cast<double>(count), part[0], part[1]);
      }
      write_moments(args, n, c, moments);
    }
  }
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
