// SPDX-License-Identifier: Apache-2.0
#include "ctl/check/chain_checker.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "blocklayer/formats/registry/format_registry.h"
#include "blocklayer/io/posix.h"

namespace chainfs::check {
namespace {

constexpr size_t kMostLayers = 256;

// "json:..." and "nbd:...": what has a colon before its first slash is not a file's name.
bool IsPlainName(const std::string& name) {
  const size_t colon = name.find(':');
  return colon == std::string::npos || colon > name.find('/');
}

// The name as it leads from here.
std::string Beside(const std::string& overlay, const std::string& name) {
  return name.starts_with('/') ? name
                               : (std::filesystem::path(overlay).parent_path() / name).string();
}

// What begins like another format is hardly raw.
void ProblemOfFormat(CheckedLayer& layer) {
  if (layer.image->format != ImageFormat::kRaw) return;
  const std::filesystem::path path(layer.image->file);
  const auto directory = OpenPosixDirectory(path.parent_path().string());
  if (!directory) return;
  const auto file = (*directory)->Open(path.filename().string(), OpenMode::kReadOnly);
  if (!file) return;
  const std::optional<ImageFormat> like =
      FormatRegistry::BuiltIn().BeginsLike(**file, ImageFormat::kRaw);
  if (!like) return;
  layer.problems.push_back(
      fmt::format("it is read as raw, but begins like {}; is its format wrong?", like->name()));
}

// The layer that `above` names as its backing file, as a request; problems are told to `above`.
std::optional<ImageRequest> NextRequest(CheckedLayer& above, const ImageRequest& request) {
  const BackingReference& backing = *above.image->backing;
  const auto problem = [&](std::string text) -> std::optional<ImageRequest> {
    above.problems.push_back(std::move(text));
    return std::nullopt;
  };
  if (!IsPlainName(backing.name)) {
    return problem(
        fmt::format("its backing file '{}' is not named as a plain file; set a name with qemu-img "
                    "rebase -u",
                    backing.name));
  }
  ImageRequest next{.path = Beside(above.path, backing.name),
                    .format = std::nullopt,
                    .repair = ImageRepair::kNone,
                    .stop = request.stop,
                    .percent = request.percent};
  if (!backing.format) {
    above.problems.push_back(
        fmt::format("it does not say which format its backing file '{}' has; set it with qemu-img "
                    "rebase -u -F",
                    backing.name));
    return next;
  }
  next.format = ParseImageFormat(*backing.format);
  if (!next.format) {
    return problem(fmt::format("its backing file '{}' has the unknown format '{}'", backing.name,
                               *backing.format));
  }
  return next;
}

void RemarkOnSize(CheckedLayer& layer, const CheckedLayer& above) {
  const uint64_t size = layer.image->virtual_size;
  const uint64_t size_above = above.image->virtual_size;
  if (size >= size_above) return;
  layer.remarks.push_back(fmt::format(
      "it has {} bytes, fewer than the layer above ({}); what lies behind its end reads "
      "as zeros",
      size, size_above));
}

// Whether the chain may go on there; if not, the last layer is told why.
bool MayGoOn(std::vector<CheckedLayer>& layers, const std::string& path) {
  std::vector<std::string>& problems = layers.back().problems;
  for (const CheckedLayer& layer : layers) {
    std::error_code failed;
    if (!std::filesystem::equivalent(layer.image->file, path, failed) || failed) continue;
    problems.push_back(
        fmt::format("its backing file '{}' is in the chain above already: the chain "
                    "is a loop",
                    path));
    return false;
  }
  if (layers.size() < kMostLayers) return true;
  problems.push_back(fmt::format("it is layer {} of the chain; no more are followed", kMostLayers));
  return false;
}

}  // namespace

std::vector<CheckedLayer> CheckChain(const ImageRequest& request) {
  std::vector<CheckedLayer> layers;
  std::optional<ImageRequest> next = request;
  while (next) {
    CheckedLayer& layer = layers.emplace_back();
    layer.path = next->path;
    Result<CheckedImage> checked = CheckImageFile(*next);
    next.reset();
    if (!checked) {
      layer.error = std::move(checked).error();
      break;
    }
    layer.image = *std::move(checked);
    if (layers.size() > 1) RemarkOnSize(layer, layers[layers.size() - 2]);
    ProblemOfFormat(layer);
    if (layer.image->backing) next = NextRequest(layer, request);
    if (next && !MayGoOn(layers, next->path)) next.reset();
  }
  return layers;
}

}  // namespace chainfs::check
