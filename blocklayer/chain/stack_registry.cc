// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/stack_registry.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/wake_up.h"
#include "blocklayer/chain/layer_stack.h"

namespace chainfs {

StackRegistry::Key StackRegistry::KeyOf(const Layers& layers) {
  Key key;
  key.reserve(layers.size());
  for (const LayerPtr& layer : layers) key.push_back(layer.get());
  return key;
}

std::shared_ptr<const LayerStack> StackRegistry::Find(const Layers& layers) const {
  const Key key = KeyOf(layers);
  const MutexLock lock(mu_);
  const auto found = stacks_.find(key);
  return found == stacks_.end() ? nullptr : found->second.stack.lock();
}

Result<std::shared_ptr<const LayerStack>> StackRegistry::Add(
    const Layers& layers, std::shared_ptr<const LayerStack> stack) {
  Key key = KeyOf(layers);
  const MutexLock lock(mu_);
  const auto written =
      std::ranges::find_if(layers, [](const LayerPtr& layer) { return layer->use.written; });
  if (written != layers.end()) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{}: it is being written, so nothing can be read through it; close it "
                            "first",
                            (*written)->path));
  }
  Known& known = stacks_[std::move(key)];
  if (std::shared_ptr<const LayerStack> first = known.stack.lock()) return first;
  known = {.stack = stack, .address = stack.get()};
  for (const LayerPtr& layer : layers) ++layer->use.stacks;
  return stack;
}

void StackRegistry::Forget(const LayerStack& stack) {
  const Key key = KeyOf(stack.layers());
  bool freed = false;
  {
    const MutexLock lock(mu_);
    const auto found = stacks_.find(key);
    // Somebody may have made a new stack of the same layers meanwhile.
    if (found != stacks_.end() && found->second.address == &stack) stacks_.erase(found);
    for (const LayerPtr& layer : stack.layers()) {
      Layer::Use& use = layer->use;
      --use.stacks;
      if (stack.use.retired && --use.retired == 0) use.kept_places.reset();
      if (IsBackedNow(*layer)) continue;
      freed = freed || use.awaited;
      use.awaited = false;
    }
  }
  if (freed) wake_up_.Call();
}

bool StackRegistry::IsBackedNow(const Layer& layer) { return layer.use.stacks > layer.use.retired; }

bool StackRegistry::BeginWriting(const Layer& layer) {
  const MutexLock lock(mu_);
  if (layer.use.written) return false;
  layer.use.awaited = IsBackedNow(layer);
  layer.use.written = !layer.use.awaited;
  return layer.use.written;
}

void StackRegistry::BeginWritingBeneath(const Layer& layer) noexcept {
  const MutexLock lock(mu_);
  for (auto known = stacks_.begin(); known != stacks_.end();) {
    if (std::ranges::find(known->first, &layer) == known->first.end()) {
      ++known;
      continue;
    }
    const LayerStack& stack = *known->second.address;
    stack.use.retired = true;
    for (const LayerPtr& each : stack.layers()) {
      Layer::Use& use = each->use;
      ++use.retired;
      if (!use.kept_places) use.kept_places.emplace(each->image->io_epoch().Enter());
    }
    known = stacks_.erase(known);
  }
  layer.use.awaited = false;
  layer.use.written = true;
}

void StackRegistry::EndWriting(const Layer& layer) {
  const MutexLock lock(mu_);
  layer.use.written = false;
}

bool StackRegistry::IsBacked(const Layer& layer) const {
  const MutexLock lock(mu_);
  return IsBackedNow(layer);
}

std::vector<std::shared_ptr<const LayerStack>> StackRegistry::StacksOf(const Layer& layer) const {
  std::vector<std::shared_ptr<const LayerStack>> found;
  const MutexLock lock(mu_);
  found.reserve(stacks_.size());  // no stack may end here, which would want the lock
  for (const auto& [key, known] : stacks_) {
    if (std::ranges::find(key, &layer) == key.end()) continue;
    if (std::shared_ptr<const LayerStack> stack = known.stack.lock()) {
      found.push_back(std::move(stack));
    }
  }
  return found;
}

size_t StackRegistry::size() const {
  const MutexLock lock(mu_);
  return stacks_.size();
}

}  // namespace chainfs
