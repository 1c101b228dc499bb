// libnvcuvid.so.1.
#include "card.h"

using namespace card;

namespace {

uint64_t fnv1a(const unsigned char* data, size_t length) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < length; ++i) {
    hash = (hash ^ data[i]) * 0x100000001b3;
  }
  return hash;
}

// Pixels of the picture that these bytes code, at the top left of the surface; what is beyond stays unwritten.
void decode(const unsigned char* data, size_t length, const Decoder& decoder, unsigned char* surface) {
  const uint64_t hash = fnv1a(data, length);
  const char* folder = std::getenv("VQAFAST_CARD_PICTURES");
  char name[17];
  std::snprintf(name, sizeof(name), "%016llx", static_cast<unsigned long long>(hash));
  std::FILE* file = folder == nullptr ? nullptr : std::fopen((std::string(folder) + "/" + name).c_str(), "rb");
  if (file == nullptr) {
    ++calls["unknown pictures"];
    if (std::getenv("VQAFAST_CARD_UNKNOWN_BREAKS") != nullptr) {
      broken = kIllegalAddress;
    }
    return;
  }
  // Columns and rows of the picture in samples, bytes of a sample; then luma, then chroma.
  uint32_t shape[3] = {};
  bool good = std::fread(shape, sizeof(shape), 1, file) == 1 && shape[0] <= decoder.width &&
              shape[1] <= decoder.height && shape[2] == decoder.item;
  const size_t rows[2] = {shape[1], (shape[1] + 1) / 2};
  const size_t bytes[2] = {size_t{shape[0]} * shape[2], (size_t{shape[0]} + 1) / 2 * 2 * shape[2]};
  for (int plane = 0; plane < 2 && good; ++plane) {
    unsigned char* start = surface + (plane == 0 ? 0 : decoder.pitch() * decoder.height);
    for (size_t row = 0; row < rows[plane] && good; ++row) {
      good = std::fread(start + row * decoder.pitch(), bytes[plane], 1, file) == 1;
    }
  }
  std::fclose(file);
  if (!good) {
    std::fprintf(stderr, "picture %s does not fit the decoder\n", name);
    std::abort();
  }
}

Decoder* find(void* handle) {
  const auto found = decoders.find(static_cast<Decoder*>(handle));
  return found == decoders.end() ? nullptr : *found;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) uint64_t card_hash(const unsigned char* data, size_t length) {
  return fnv1a(data, length);
}

// Codecs by the driver's numbers: what a Hopper card decodes.
DRIVER cuvidGetDecoderCaps(void* caps) {
  ENTER(true)
  constexpr int kH264 = 4, kHevc = 8, kVp8 = 9, kVp9 = 10, kAv1 = 11, k420 = 1, k444 = 3;
  const int codec = field<int>(caps, 0), chroma = field<int>(caps, 4);
  const unsigned more = field<unsigned>(caps, 8);  // bits beyond 8
  const bool deep = codec == kHevc || codec == kVp9 || codec == kAv1;
  const bool known = codec <= 3 || codec == 5 || codec == kH264 || codec == kVp8 || deep;
  const bool good = known && (chroma == k420 || (chroma == k444 && codec == kHevc)) &&
                    (more == 0 || (deep && (more == 2 || more == 4)));
  set_field<unsigned char>(caps, 24, good);
  set_field<unsigned char>(caps, 25, 7);
  set_field<unsigned>(caps, 28, good ? 8192 : 0);
  set_field<unsigned>(caps, 32, good ? 8192 : 0);
  set_field<unsigned>(caps, 36, good ? 262144 : 0);
  // Of a Hopper card: H.264 from 48x16, HEVC 144x144, VP9 128x128.
  const unsigned short least = codec == kHevc ? 144 : codec == kVp9 || codec == kAv1 ? 128 : 48;
  set_field<unsigned short>(caps, 40, least);
  set_field<unsigned short>(caps, 42, codec == kH264 || codec == kVp8 ? 16 : least);
  return kSuccess;
}

DRIVER cuvidCreateDecoder(void** handle, void* info) {
  ENTER(true)
  constexpr int kNv12 = 0, kP016 = 1;
  const auto count = field<size_t>(info, 16);
  const int format = field<int>(info, 88);
  Decoder made;
  made.width = field<size_t>(info, 96);
  made.height = field<size_t>(info, 104);
  made.item = format == kP016 ? 2 : 1;
  made.outputs = field<size_t>(info, 112);
  if (count == 0 || count > kSurfaces || (format != kNv12 && format != kP016)) {
    return kInvalidValue;
  }
  const size_t bytes = (count + made.outputs) * made.bytes();
  if (bytes > room - std::min(room, used)) {
    return kOutOfMemory;
  }
  used += bytes;
  made.surfaces.assign(count, std::vector<unsigned char>(made.bytes(), kUnwritten));
  *handle = *decoders.insert(new Decoder(std::move(made))).first;
  return kSuccess;
}

DRIVER cuvidDestroyDecoder(void* handle) {
  ENTER(true)
  Decoder* decoder = find(handle);
  if (decoder == nullptr) {
    return kInvalidHandle;
  }
  for (const Pointer pointer : decoder->mapped) {
    used += decoder->bytes();
    release(pointer);
  }
  used -= (decoder->surfaces.size() + decoder->outputs) * decoder->bytes();
  decoders.erase(decoder);
  delete decoder;
  return kSuccess;
}

DRIVER cuvidDecodePicture(void* handle, const void* picture) {
  ENTER(true)
  Decoder* decoder = find(handle);
  const int surface = field<int>(picture, 8);
  if (decoder == nullptr) {
    return kInvalidHandle;
  }
  if (surface < 0 || surface >= static_cast<int>(decoder->surfaces.size())) {
    return kInvalidValue;
  }
  decode(field<const unsigned char*>(picture, 32), field<unsigned>(picture, 24), *decoder,
         decoder->surfaces[static_cast<size_t>(surface)].data());
  return kSuccess;
}

DRIVER cuvidMapVideoFrame64(void* handle, int surface, Pointer* result, unsigned* pitch, const void*) {
  ENTER(true)
  Decoder* decoder = find(handle);
  if (decoder == nullptr) {
    return kInvalidHandle;
  }
  if (surface < 0 || surface >= static_cast<int>(decoder->surfaces.size())) {
    return kInvalidValue;
  }
  if (decoder->mapped.size() >= decoder->outputs) {
    return kInvalidHandle;
  }
  // Its memory is part of the decoder's already.
  used -= decoder->bytes();
  allocate(result, decoder->bytes());
  std::memcpy(reinterpret_cast<void*>(*result), decoder->surfaces[static_cast<size_t>(surface)].data(),
              decoder->bytes());
  decoder->mapped.insert(*result);
  *pitch = static_cast<unsigned>(decoder->pitch());
  return kSuccess;
}

DRIVER cuvidUnmapVideoFrame64(void* handle, Pointer pointer) {
  ENTER(true)
  Decoder* decoder = find(handle);
  if (decoder == nullptr || decoder->mapped.erase(pointer) == 0) {
    return kInvalidHandle;
  }
  used += decoder->bytes();
  return release(pointer);
}
