// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/stack_registry.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/wake_up.h"

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
  return found == stacks_.end() ? nullptr : found->second.lock();
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
  std::weak_ptr<const LayerStack>& known = stacks_[std::move(key)];
  if (std::shared_ptr<const LayerStack> first = known.lock()) return first;
  known = stack;
  for (const LayerPtr& layer : layers) ++layer->use.stacks;
  return stack;
}

void StackRegistry::Forget(const Layers& layers) {
  const Key key = KeyOf(layers);
  bool freed = false;
  {
    const MutexLock lock(mu_);
    const auto found = stacks_.find(key);
    // Somebody may have made a new stack of the same layers meanwhile.
    if (found != stacks_.end() && found->second.expired()) stacks_.erase(found);
    for (const LayerPtr& layer : layers) {
      if (--layer->use.stacks > 0) continue;
      freed = freed || layer->use.awaited;
      layer->use.awaited = false;
    }
  }
  if (freed) wake_up_.Call();
}

bool StackRegistry::BeginWriting(const Layer& layer) {
  const MutexLock lock(mu_);
  if (layer.use.written) return false;
  layer.use.awaited = layer.use.stacks > 0;
  layer.use.written = layer.use.stacks == 0;
  return layer.use.written;
}

void StackRegistry::EndWriting(const Layer& layer) {
  const MutexLock lock(mu_);
  layer.use.written = false;
}

bool StackRegistry::IsBacked(const Layer& layer) const {
  const MutexLock lock(mu_);
  return layer.use.stacks > 0;
}

std::vector<std::shared_ptr<const LayerStack>> StackRegistry::StacksOf(const Layer& layer) const {
  std::vector<std::shared_ptr<const LayerStack>> found;
  const MutexLock lock(mu_);
  found.reserve(stacks_.size());  // no stack may end here, which would want the lock
  for (const auto& [key, known] : stacks_) {
    if (std::ranges::find(key, &layer) == key.end()) continue;
    if (std::shared_ptr<const LayerStack> stack = known.lock()) found.push_back(std::move(stack));
  }
  return found;
}

size_t StackRegistry::size() const {
  const MutexLock lock(mu_);
  return stacks_.size();
}

}  // namespace chainfs
