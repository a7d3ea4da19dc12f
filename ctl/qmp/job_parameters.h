// SPDX-License-Identifier: Apache-2.0
//
// What the commands that start jobs have in common: parameters of every job, and layers that are
// named by files.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

struct JobParameters {
  std::optional<int64_t> speed = {};  // bytes per second
  std::optional<std::string> on_error = {};
  bool auto_finalize = true;
  bool auto_dismiss = true;

  // GenericError for what no job here can do.
  QmpStatus AddTo(verbs::Arguments& arguments) const;
  // A job without a name is called as its device.
  JobChoice Choice(const std::optional<std::string>& id, const NamedNode& device) const;
};

// speed, on-error, auto-finalize, auto-dismiss; filter-node-name, which changes nothing here.
JobParameters TakeJobParameters(Parameters& parameters);

// Active first.
std::expected<size_t, QmpError> PositionIn(const Layers& layers, const Layer& layer);
// The layer below `top` that the file `name` is; "Can't find '...' in the backing chain".
std::expected<LayerPtr, QmpError> FileInChain(Client& client, const NamedNode& top,
                                              const std::string& name);
// `backing-file` is what QEMU writes into a header. The name that chainfs writes leads to `base`
// by itself, so a name for another file is refused, and any for it is as good.
QmpStatus CheckBackingFile(const std::optional<std::string>& name, const LayerPtr& base);

}  // namespace chainfs::qmp
