// How CUDA blocks share (B, T, D): a block takes the columns of a panel, of one sample, over all of time. What the
// forward and the backward kernel share.
#pragma once

#include "core/cuda_check.cuh"
#include "ops/cgin/cgin_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;  // rows of a thread that are loaded before the first is used

// A block's threads stand in `kThreads / lanes` rows of `lanes`; each has kWidth neighbouring channels of every row
// that is `rows` after its first.
struct Panels {
  int lanes;           // a power of two
  std::int64_t count;  // along D
};

// Narrow panels when there are few samples, so that all multiprocessors have some.
template <int kWidth>
inline Panels cgin_panels(const CginProblem& problem) {
  constexpr std::int64_t kEnoughBlocks = 256;
  constexpr int kFewest = kWidth == 1 ? 8 : 2;  // 32 bytes of float: a sector
  int lanes = kWidth == 1 ? 32 : 8;
  const auto count = [&] { return (problem.width + lanes * kWidth - 1) / (lanes * kWidth); };
  while (lanes > kFewest && problem.batch * count() < kEnoughBlocks) lanes /= 2;
  return {lanes, count()};
}

// Samples are the second axis of the grid, and CUDA has a bound for it.
inline void check_grid(const char* op, const CginProblem& problem) {
  VQAFAST_CHECK(op, problem.batch <= 65535, "a batch on a CUDA device must hold at most 65535 samples", problem.batch);
}

// Whether kWidth channels of every row may be read and written at once.
inline bool packed(const CginTensor& t, std::int64_t bytes, std::int64_t item) {
  return !t.data || (reinterpret_cast<std::uintptr_t>(t.data) % bytes == 0 && t.stride_d == item &&
                     t.stride_t % bytes == 0 && t.stride_b % bytes == 0);
}

template <typename Real, int kWidth>
struct alignas(sizeof(Real) * kWidth) Values {
  Real v[kWidth];
};

// Addresses of one thread's channels of one tensor.
template <typename Real, int kWidth>
struct Column {
  const char* base;
  std::int64_t stride_t;

  __device__ Column(const CginTensor& t, std::int64_t b, std::int64_t channel)
      : base(t.data + b * t.stride_b + channel * t.stride_d), stride_t(t.stride_t) {}
  __device__ Values<Real, kWidth> at(std::int64_t t) const {
    return *reinterpret_cast<const Values<Real, kWidth>*>(base + t * stride_t);
  }
};

// The `kUnroll` rows from t on that are `step` apart, those before `length` only. Returns how many there were. All are
// asked for before any is used, and before anything is stored, which might be in the way.
template <typename Real, int kWidth>
__device__ int load_rows(const Column<Real, kWidth>& column, std::int64_t t, int step, std::int64_t length,
                         Values<Real, kWidth>* rows) {
  int there = 0;
#pragma unroll
  for (int r = 0; r < kUnroll; ++r) {
    const std::int64_t at = t + static_cast<std::int64_t>(r) * step;
    if (at < length) {
      rows[r] = column.at(at);
      there = r + 1;
    }
  }
  return there;
}

// The caller's value, held to what the arrays have room for: nobody else has looked at lengths on the device.
__device__ inline std::int64_t clamped_length(const CginProblem& problem, std::int64_t b) {
  const std::int64_t length = cgin_length(problem, b);
  return length < 1 ? 1 : length > problem.time ? problem.time : length;
}

// One thread's sums of one channel: of rows taken `kUnroll` at a time, from the mean of those rows in Real, and from
// `shift` in double. So neither an offset nor a trend costs precision.
template <typename Real>
struct ColumnSums {
  double shift = 0, first = 0, second = 0;
  bool begun = false;

  // Channel c of `rows` loaded rows.
  template <int kWidth>
  __device__ void add(const Values<Real, kWidth>* x, int c, int rows) {
    const Real mean = mean_of(x, c, rows);
    Real rest = 0, squares = 0;
#pragma unroll
    for (int r = 0; r < kUnroll; ++r) {
      if (r < rows) {
        const Real d = x[r].v[c] - mean;
        rest += d;
        squares += d * d;
      }
    }
    add(mean, rest, squares, rows);
  }

  template <int kWidth>
  __device__ static Real mean_of(const Values<Real, kWidth>* x, int c, int rows) {
    Real sum = 0;
#pragma unroll
    for (int r = 0; r < kUnroll; ++r)
      if (r < rows) sum += x[r].v[c];
    return sum / static_cast<Real>(rows);
  }

  __device__ void add(Real mean, Real rest, Real squares, int rows) {
    if (!begun) shift = static_cast<double>(mean);
    begun = true;
    const double away = static_cast<double>(mean) - shift, left = static_cast<double>(rest);
    first += rows * away + left;
    second += static_cast<double>(squares) + away * (rows * away + 2 * left);
  }
};

template <typename Real>
struct ColumnStatistics {
  Real mean, mean_rest, sigma, inverse_sigma;
};

// Sum over the `group` neighbouring threads of a warp, a power of two; all of them get it, in the same order.
__device__ inline double group_sum(double v, int group) {
  for (int step = group / 2; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
  return v;
}

// The block's partial sums: entry (tensor, channel of the panel, row of threads).
template <int kWidth>
struct SharedSums {
  double mean[2][kThreads * kWidth], squares[2][kThreads * kWidth];

  __device__ static int at(int column, int row, int rows) { return column * rows + row; }
};

// Where a thread stands in its block, and the block in the problem.
template <int kWidth>
struct Place {
  int lane, row, rows;
  std::int64_t b, channel, length;
  bool inside;  // kWidth divides the width, so that all of the thread's channels are

  __device__ Place(const CginProblem& problem, int lanes)
      : lane(static_cast<int>(threadIdx.x) % lanes),
        row(static_cast<int>(threadIdx.x) / lanes),
        rows(kThreads / lanes),
        b(blockIdx.y),
        channel((static_cast<std::int64_t>(blockIdx.x) * lanes + lane) * kWidth),
        length(clamped_length(problem, b)),
        inside(channel < problem.width) {}
  __device__ std::int64_t step() const { return static_cast<std::int64_t>(rows) * kUnroll; }
  __device__ double count() const { return static_cast<double>(row < length ? (length - row + rows - 1) / rows : 0); }
  __device__ int shared_at(int c) const { return SharedSums<kWidth>::at(lane * kWidth + c, row, rows); }
};

template <typename Real, int kWidth>
__device__ void store_sums(const Place<kWidth>& place, const ColumnSums<Real>* sums, double* mean, double* squares) {
  const double count = place.count();
#pragma unroll
  for (int c = 0; c < kWidth; ++c) {
    const double away = count > 0 ? sums[c].first / count : 0;
    mean[place.shared_at(c)] = sums[c].shift + away;
    squares[place.shared_at(c)] = sums[c].second - sums[c].first * away;
  }
}

// The threads that add up one (tensor, channel): `group` of them with 2 * kWidth rows each.
template <int kWidth>
struct Reducer {
  int group, tensor, column, member, rows;

  __device__ explicit Reducer(int lanes) : group(kThreads / (2 * lanes * kWidth)), rows(kThreads / lanes) {
    const int which = static_cast<int>(threadIdx.x) / group;
    member = static_cast<int>(threadIdx.x) % group;
    tensor = which / (lanes * kWidth);
    column = which % (lanes * kWidth);
  }
  // term(row of threads) added over all rows.
  template <typename Term>
  __device__ double sum(const Term& term) const {
    double total = 0;
    for (int r = member; r < rows; r += group) total += term(r);
    return group_sum(total, group);
  }
};

// Mean and sum of squared deviations of the reducer's channel from the block's partial sums.
template <int kWidth>
__device__ void combine(const SharedSums<kWidth>& shared, const Reducer<kWidth>& reducer, std::int64_t length,
                        double* mean, double* squares) {
  const double* means = shared.mean[reducer.tensor] + SharedSums<kWidth>::at(reducer.column, 0, reducer.rows);
  const double* parts = shared.squares[reducer.tensor] + SharedSums<kWidth>::at(reducer.column, 0, reducer.rows);
  const auto count = [&](int r) {
    return static_cast<double>(r < length ? (length - r + reducer.rows - 1) / reducer.rows : 0);
  };
  // From the first row's mean: the parts' means differ by little.
  const double origin = means[0], total = static_cast<double>(length);
  const double away = reducer.sum([&](int r) { return count(r) * (means[r] - origin); }) / total;
  *mean = origin + away;
  const double middle = *mean;
  *squares = reducer.sum([&](int r) {
    const double d = means[r] - middle;
    return parts[r] + count(r) * d * d;
  });
}

template <typename Real>
__device__ ColumnStatistics<Real> column_statistics(double mean, double squares, std::int64_t length, double eps) {
  const double sigma = sqrt(squares / static_cast<double>(length) + eps);
  const Real rounded = static_cast<Real>(mean);
  return {rounded, static_cast<Real>(mean - static_cast<double>(rounded)), static_cast<Real>(sigma),
          static_cast<Real>(1.0 / sigma)};
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
