// SPDX-License-Identifier: Apache-2.0
//
// StackRegistry: finds the living LayerStack of a list of layers, so that linked clones share one
// index. It keeps nothing alive.
//
// Threads: all methods, any thread; mu_ is a leaf.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/layer.h"

namespace chainfs {

class LayerStack;

class StackRegistry {
 public:
  // The living stack of `layers`, or null.
  std::shared_ptr<const LayerStack> Find(const Layers& layers) const;
  // Makes `stack`, of `layers`, known; returns the one that somebody else made known first.
  std::shared_ptr<const LayerStack> Add(const Layers& layers,
                                        std::shared_ptr<const LayerStack> stack);
  // From the destructor of a stack.
  void Forget(const Layers& layers);
  // Entries, for tests.
  size_t size() const;

 private:
  // Addresses identify layers here: a living stack keeps its layers, so no address is another's.
  using Key = std::vector<const Layer*>;
  static Key KeyOf(const Layers& layers);

  mutable Mutex mu_;
  std::map<Key, std::weak_ptr<const LayerStack>> stacks_ GUARDED_BY(mu_);
};

}  // namespace chainfs
