// Panels: up to kPanel neighbouring channels of one sample, over time. What the forward and the backward loops on the
// CPU share. Loops go along a row before they go down in time: a row of a panel is contiguous, while rows a power of
// two apart, as with D = 1024, share few cache sets.
#pragma once

#include "core/moments.h"
#include "ops/cgin/cgin_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {

template <typename Real>
constexpr int kPanel = 1024 / static_cast<int>(sizeof(Real));  // a whole number of vectors on every instruction set
constexpr int kBlock = 32;                                     // rows whose statistics are added up in Real

struct Panel {
  std::int64_t b, first;
  int columns, width;  // width: columns rounded up to whole vectors
};

template <typename Real>
struct Statistics {
  Real mean[kPanel<Real>], mean_rest[kPanel<Real>], sigma[kPanel<Real>], inverse_sigma[kPanel<Real>];
};

// Rows `pitch` values apart (0: the same row for every t), as wide as the panel.
template <typename Real>
struct Rows {
  const Real* data;
  std::int64_t pitch;
};

VQAFAST_INLINE std::int64_t block_rows(std::int64_t t, std::int64_t length) {
  return length - t < kBlock ? length - t : kBlock;
}

// In place where the layout allows, else copied into `buffer` (kBlock * kPanel values) with zeros to the right.
template <typename Real>
VQAFAST_INLINE Rows<Real> rows_of(const CginTensor& tensor, const Panel& panel, std::int64_t t, std::int64_t rows,
                                  Real* buffer) {
  constexpr int kSize = static_cast<int>(sizeof(Real));
  const char* from = tensor.data + panel.b * tensor.stride_b + t * tensor.stride_t + panel.first * tensor.stride_d;
  if (tensor.stride_d == kSize && panel.columns == panel.width && tensor.stride_t % kSize == 0)
    return {reinterpret_cast<const Real*>(from), tensor.stride_t / kSize};
  for (std::int64_t r = 0; r < rows; ++r) {
    Real* to = buffer + r * kPanel<Real>;
    gather(from + r * tensor.stride_t, tensor.stride_d, kDTypeOf<Real>, panel.columns, to);
    for (int c = panel.columns; c < panel.width; ++c) to[c] = 0;
  }
  return {buffer, kPanel<Real>};
}

template <typename Real>
VQAFAST_INLINE void measure(const CginTensor& features, const Panel& panel, std::int64_t length, double eps,
                            Real* buffer, Statistics<Real>* statistics) {
  constexpr int kWidth = kLanesOf<Real>;
  double means[kPanel<Real>] = {}, squares[kPanel<Real>] = {};
  Real shift[kPanel<Real>], first[kPanel<Real>], second[kPanel<Real>];
  for (std::int64_t t = 0; t < length; t += kBlock) {
    const std::int64_t rows = block_rows(t, length);
    const Rows<Real> x = rows_of(features, panel, t, rows, buffer);
    for (int c = 0; c < panel.width; ++c) shift[c] = first[c] = second[c] = 0;
    for (std::int64_t r = 0; r < rows; ++r)
      for (int c = 0; c < panel.width; c += kWidth) store(load(shift + c) + load(x.data + r * x.pitch + c), shift + c);
    for (int c = 0; c < panel.width; c += kWidth) store(load(shift + c) / static_cast<Real>(rows), shift + c);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (int c = 0; c < panel.width; c += kWidth) {
        const Vec<Real> d = load(x.data + r * x.pitch + c) - load(shift + c);
        store(load(first + c) + d, first + c);
        store(load(second + c) + d * d, second + c);
      }
    }
    const double size = static_cast<double>(rows), inverse = 1.0 / size;
    const double share = size / (static_cast<double>(t) + size), weight = static_cast<double>(t) * share;
    for (int c = 0; c < panel.width; ++c) {
      const double rest = static_cast<double>(first[c]);
      const double delta = static_cast<double>(shift[c]) + rest * inverse - means[c];
      means[c] += delta * share;
      squares[c] += static_cast<double>(second[c]) - rest * rest * inverse + delta * delta * weight;
    }
  }
  for (int c = 0; c < panel.width; ++c) {
    const double sigma = sqrt(squares[c] / static_cast<double>(length) + eps);
    statistics->mean[c] = static_cast<Real>(means[c]);
    statistics->mean_rest[c] = static_cast<Real>(means[c] - static_cast<double>(statistics->mean[c]));
    statistics->sigma[c] = static_cast<Real>(sigma);
    statistics->inverse_sigma[c] = static_cast<Real>(1.0 / sigma);
  }
}

template <typename Real>
VQAFAST_INLINE Vec<Real> normalised(const Rows<Real>& x, std::int64_t r, int c, const Statistics<Real>& s) {
  return cgin_normalise(load(x.data + r * x.pitch + c), load(s.mean + c), load(s.mean_rest + c),
                        load(s.inverse_sigma + c));
}

// Writes the leading `width` lanes.
template <typename Real>
VQAFAST_INLINE void store_lanes(Vec<Real> v, int width, Real* to) {
  if (width >= kLanesOf<Real>) {
    store(v, to);
    return;
  }
  Real lanes[kLanesOf<Real>];
  store(v, lanes);
  for (int i = 0; i < width; ++i) to[i] = lanes[i];
}

template <typename Real>
VQAFAST_INLINE std::int64_t panel_count(const CginProblem& problem) {
  return problem.batch * ((problem.width + kPanel<Real> - 1) / kPanel<Real>);
}

template <typename Real>
VQAFAST_INLINE Panel panel_at(const CginProblem& problem, std::int64_t index) {
  const std::int64_t panels = (problem.width + kPanel<Real> - 1) / kPanel<Real>;
  const std::int64_t first = index % panels * kPanel<Real>, left = problem.width - first;
  const int columns = static_cast<int>(left < kPanel<Real> ? left : kPanel<Real>);
  return {index / panels, first, columns, (columns + kLanesOf<Real> - 1) / kLanesOf<Real> * kLanesOf<Real>};
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
