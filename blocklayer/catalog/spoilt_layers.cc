// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/spoilt_layers.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace chainfs {
namespace {

using MarkOfLayer = LeftOutMarks::Mark;

// Where in the chain, top to base, the layer is that a mark says is whole. Before its beginning
// when it is not there: a chain that ends lower was asked about, or the layer is gone.
ptrdiff_t PlaceOfWhole(const MarkOfLayer& mark, const Layers& chain) {
  const auto is_it = [&](const LayerPtr& layer) {
    return mark.into ? layer->id == *mark.into : layer->path == mark.contents.into;
  };
  const auto found = std::ranges::find_if(chain, is_it);
  return found == chain.end() ? -1 : found - chain.begin();
}

ptrdiff_t PlaceOf(const Layer& layer, const Layers& chain) {
  return std::ranges::find(chain, &layer, &LayerPtr::get) - chain.begin();
}

}  // namespace

Result<LeftOutMarks::Before> SpoiltLayers::Mark(size_t source, const Layers& chain,
                                                const Layers& layers, const Layer& whole,
                                                const std::string& job) {
  LeftOut like{.path = {}, .inode = 0, .into = whole.path, .kind = MarkKind::kChanging, .job = job};
  ptrdiff_t highest = PlaceOf(whole, chain);
  for (auto layer = chain.begin() + highest; layer < chain.end(); ++layer) {
    const MarkOfLayer* const mark = marks_.Find((*layer)->id);
    if (mark == nullptr || mark->contents.kind != MarkKind::kChanging) continue;
    if (!mark->unread.empty()) return Fail(ErrorKind::kIo, mark->unread);
    const ptrdiff_t place = PlaceOfWhole(*mark, chain);
    if (place >= highest) continue;
    highest = place;
    like.into = mark->contents.into;
    like.job = mark->contents.job;
  }
  return marks_.AddLike(source, like, layers);
}

Status SpoiltLayers::EndedWell(const Layers& chain, const Layer& layer, const Layer& whole) {
  const MarkOfLayer* const mark = marks_.Find(layer.id);
  if (mark == nullptr || mark->contents.kind != MarkKind::kChanging) return {};
  if (!mark->unread.empty()) return Fail(ErrorKind::kIo, mark->unread);
  if (PlaceOfWhole(*mark, chain) < PlaceOf(whole, chain)) return {};
  return marks_.Remove(layer.id);
}

}  // namespace chainfs
