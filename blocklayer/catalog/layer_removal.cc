// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/layer_removal.h"

#include <fmt/format.h>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

Status LayerRemoval::CheckAllowed(Roots& roots, const Layer& layer, bool anywhere) {
  if (anywhere || roots.FindNew(*layer.directory, layer.name, false)) return {};
  return Fail(ErrorKind::kAccess,
              EscapeText(fmt::format("{}: lies outside the source directories; only root may have "
                                     "it removed",
                                     layer.path)));
}

Status LayerRemoval::RemoveFile(const Layer& layer, bool anywhere) {
  CHAINFS_TRY(CheckAllowed(roots_, layer, anywhere));
  CHAINFS_TRY(layer.directory->RemoveFile(layer.name, layer.id));
  return layer.directory->Sync();
}

std::vector<std::string> LayerRemoval::Plan(const Layer& top, const Layers& left_out) {
  std::vector<std::string> paths;
  const Result<HiddenUsers::Around> around = hidden_.FindAround(left_out);
  // Of what cannot be told nobody may say that it is not needed.
  if (!around) return paths;
  for (const LayerPtr& layer : needs_.UnneededOf(top, left_out, *around)) {
    paths.push_back(layer->path);
  }
  return paths;
}

LeftOutLayers LayerRemoval::Remove(const Layer& top, const Layers& left_out, bool anywhere) {
  LeftOutLayers result;
  const Result<HiddenUsers::Around> around = hidden_.FindAround(left_out);
  Status removed = around ? Status() : std::unexpected(around.error());
  if (removed) removed = pauses_.CheckOpen();
  if (removed) removed = scanner_.Scan(Scanner::Kind::kQuick);
  const Layers unneeded =
      needs_.UnneededOf(top, left_out, around ? *around : HiddenUsers::Around());
  for (const LayerPtr& layer : unneeded) {
    if (removed) removed = chain_records_.ForgetBacking(layer->path);
    if (removed) removed = RemoveFile(*layer, anywhere);
    if (!removed) {
      result.unneeded.push_back(layer->path);
      continue;
    }
    result.removed.push_back(layer->path);
    // The next scan would do it, too.
    (void)marks_.Remove(layer->id);
    marks_.MergedFurther(layer->path, top.path);
  }
  if (!removed) result.problem = EscapeText(removed.error().message);
  if (!result.removed.empty()) scanner_.ShowChanges();
  return result;
}

}  // namespace chainfs
