#include <atomic>
#include <cstring>

#include "core/context.h"
#include "core/moments.h"
#include "core/parallel.h"
#include "ops/scene_statistics/scene_statistics_blocks.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace scene {
namespace {

struct Band {
  Scale scales[kScales];
  DctQueue dct;
  GridCells grid;
};

std::int64_t at_least(std::int64_t a, std::int64_t b) { return a < b ? b : a; }
std::int64_t at_most(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

void set_up(Band& band, const Args& a, std::int64_t top, std::int64_t bottom, float* rows) {
  const auto take = [&rows](std::int64_t count, std::int64_t pitch) {
    float* taken = rows;
    rows += count * pitch;
    return taken;
  };
  for (int k = 0; k < kScales; ++k) {
    Scale& s = band.scales[k];
    s.height = a.height >> k;
    s.width = a.width >> k;
    s.pitch = row_pitch(s.width);
    s.begin = at_least(top >> k, kCrop);
    s.end = at_most(bottom >> k, s.height - kCrop);
    s.x = take(kRing, s.pitch);
    s.change = take(kRing, s.pitch);
    s.mean = take(1, s.pitch);
    s.variance = take(1, s.pitch);
    s.mscn = take(2, s.pitch);
    s.deviation = take(2, s.pitch);
  }
  band.grid.columns = (a.width - 3) / kGrid * kGrid;
  band.grid.down = take(1, row_pitch(a.width));
  band.grid.across = take(1, row_pitch(a.width));
}

// Three rows of one picture.
template <bool packed>
struct PictureRows {
  const char *here, *above, *below;
  std::int64_t stride;

  float value(const char* row, std::int64_t x) const {
    float v;
    std::memcpy(&v, row + x * (packed ? static_cast<std::int64_t>(sizeof(float)) : stride), sizeof(v));
    return v;
  }
  float at(std::int64_t x) const { return value(here, x); }
  float over(std::int64_t x) const { return value(above, x); }
  float under(std::int64_t x) const { return value(below, x); }
};

// The same rows of the change from one picture to the next.
template <bool packed>
struct ChangeRows {
  PictureRows<packed> now, next;

  float at(std::int64_t x) const { return next.at(x) - now.at(x); }
  float over(std::int64_t x) const { return next.over(x) - now.over(x); }
  float under(std::int64_t x) const { return next.under(x) - now.under(x); }
};

template <typename Rows>
float gradient_in(const Rows& rows, std::int64_t x, std::int64_t right) {
  return gradient_at(rows.at(x), rows.at(right), rows.under(x));
}
template <typename Rows>
float detail_in(const Rows& rows, std::int64_t x, std::int64_t left, std::int64_t right) {
  return detail_at(rows.at(x), rows.at(left), rows.at(right), rows.over(x), rows.under(x));
}

// Row y of both pictures of an image -> I and D of the map. Differences are taken before scaling, and before the detail
// of them: equal pixels must give exactly 0. Inner columns first, in a loop that vectorises, then the edges.
template <SceneMap map, bool packed>
void read_row(const Args& a, std::int64_t image, std::int64_t y, float* __restrict x, float* __restrict change) {
  const auto rows = [&](std::int64_t picture) {
    const char* here = a.frames + image * a.stride_n + picture * a.stride_c + y * a.stride_h;
    return PictureRows<packed>{here, y > 0 ? here - a.stride_h : here, y + 1 < a.height ? here + a.stride_h : here,
                               a.stride_w};
  };
  const ChangeRows<packed> both{rows(0), rows(1)};
  const auto pixel = [&](std::int64_t i, std::int64_t left, std::int64_t right) __attribute__((always_inline)) {
    if constexpr (map == SceneMap::kLuma) {
      x[i] = both.now.at(i) * 255.0f - 127.5f;
      change[i] = both.at(i) * 255.0f;
    } else if constexpr (map == SceneMap::kGradient) {
      const float m = gradient_in(both.now, i, right);
      x[i] = m * 255.0f - 127.5f;
      change[i] = (gradient_in(both.next, i, right) - m) * 255.0f;
    } else if constexpr (map == SceneMap::kDetail) {
      x[i] = detail_in(both.now, i, left, right) * 255.0f;
      change[i] = detail_in(both, i, left, right) * 255.0f;
    } else {
      x[i] = both.at(i) * 127.5f;
      change[i] = 0;
    }
  };
  for (std::int64_t i = 1; i + 1 < a.width; ++i) pixel(i, i - 1, i + 1);
  pixel(0, 0, 1);
  pixel(a.width - 1, a.width - 2, a.width - 1);
}

using ReadRow = void (*)(const Args&, std::int64_t image, std::int64_t y, float* x, float* change);

template <SceneMap map>
ReadRow row_reader(const Args& a) {
  return a.stride_w == sizeof(float) ? read_row<map, true> : read_row<map, false>;
}

ReadRow reader_of(const Args& a) {
  switch (a.map) {
    case SceneMap::kGradient: return row_reader<SceneMap::kGradient>(a);
    case SceneMap::kDetail: return row_reader<SceneMap::kDetail>(a);
    case SceneMap::kDifference: return row_reader<SceneMap::kDifference>(a);
    case SceneMap::kLuma: break;
  }
  return row_reader<SceneMap::kLuma>(a);
}

void halve(const float* a, const float* b, std::int64_t width, float* __restrict out) {
  for (std::int64_t i = 0; i < width; ++i) out[i] = 0.25f * ((a[2 * i] + a[2 * i + 1]) + (b[2 * i] + b[2 * i + 1]));
}

// Row y of scale s has just come in.
void add_scale(Scale& s, std::int64_t y) {
  const std::int64_t middle = y - kReach;
  if (middle < s.begin || middle > s.end) return;
  transform_row(s, middle);
  if (middle > s.begin) add_scale_row(s, middle - 1);
}

void add_band(const Args& a, std::int64_t image, std::int64_t k, float* rows, Partial* partial) {
  const std::int64_t top = band_begin(a.height, a.bands, k), bottom = band_begin(a.height, a.bands, k + 1);
  Band band;
  set_up(band, a, top, bottom, rows);
  // Rows above and below for the windows of the last scale.
  constexpr std::int64_t kPixel = 1 << (kScales - 1);
  const std::int64_t first = at_least(top - kReach * kPixel, 0);
  const std::int64_t last = at_most(bottom + (kReach + 1) * kPixel, a.height);
  const std::int64_t grid_end = at_most(bottom, (a.height - 3) / kGrid * kGrid);
  const ReadRow read = reader_of(a);
  const Scale& full = band.scales[0];

  for (std::int64_t y = first; y < last; ++y) {
    read(a, image, y, full.x_row(y), full.change_row(y));
    if (y % 8 == 7 && y >= top && y < bottom) band.dct.add(full.x, full.pitch, full.width);
    const std::int64_t g = y - 3;
    if (g >= top && g < grid_end)
      band.grid.add(g, full.x_row(g), full.x_row(g + 1), full.x_row(g + 2), full.x_row(g + 3));

    std::int64_t row = y;
    add_scale(band.scales[0], row);
    for (int s = 1; s < kScales && row % 2 == 1; ++s) {
      const Scale& fine = band.scales[s - 1];
      Scale& coarse = band.scales[s];
      halve(fine.x_row(row - 1), fine.x_row(row), coarse.width, coarse.x_row(row / 2));
      halve(fine.change_row(row - 1), fine.change_row(row), coarse.width, coarse.change_row(row / 2));
      row /= 2;
      add_scale(coarse, row);
    }
  }
  band.dct.flush();

  for (const Scale& s : band.scales) {
    const double count = static_cast<double>(at_least(s.end - s.begin, 0) * (s.width - 2 * kCrop));
    for (int c = 0; c < kScaleChannels; ++c) partial[kChannelOf[c]] = s.sums[c].moments(count);
    partial += kScaleChannels;
  }
  for (const ChannelSums& sums : band.dct.sums) *partial++ = sums.moments(static_cast<double>(band.dct.done));
  for (int p = 0; p < kGrid; ++p) *partial++ = band.grid.moments(p);
}

// Adds up the bands of an image, in their order, and writes its row of `out`.
void write_image(const Args& a, std::int64_t image) {
  const Partial* partial = a.partial + image * a.bands * kChannels;
  float* out = a.out + image * 2 * kChannels;
  int done = 0;
  for (int stage = 0; stage < kScales + 2; ++stage) {
    const int channels = stage < kScales ? kScaleChannels : stage == kScales ? kDctChannels : kGrid;
    for (int c = 0; c < channels; ++c) {
      Moments total;
      for (std::int64_t k = 0; k < a.bands; ++k) {
        const Partial& part = partial[k * kChannels + done + c];
        if (part.count > 0) total.add(part.count, part.mean, part.squares);
      }
      const double variance = total.squares / total.count;
      out[2 * done + c] = static_cast<float>(total.mean);
      out[2 * done + channels + c] = static_cast<float>(sqrt(variance < 0 ? 0 : variance));
    }
    done += channels;
  }
}

}  // namespace
}  // namespace scene

void scene_statistics_cpu(const Context& context, const vqafast::scene::Args& args);

void scene_statistics_cpu(const Context& context, const vqafast::scene::Args& args) {
  const std::int64_t items = args.images * args.bands;
  const std::int64_t floats = vqafast::scene::slot_floats(args.width);
  std::atomic<std::int64_t> next{0};
  // One call per set of buffers, each taking bands until none is left.
  parallel_for(context.threads, args.slots, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t slot = begin; slot < end; ++slot) {
      for (;;) {
        const std::int64_t item = next.fetch_add(1, std::memory_order_relaxed);
        if (item >= items) break;
        scene::add_band(args, item / args.bands, item % args.bands, args.rows + slot * floats,
                        args.partial + item * vqafast::scene::kChannels);
      }
    }
  });
  for (std::int64_t image = 0; image < args.images; ++image) scene::write_image(args, image);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
