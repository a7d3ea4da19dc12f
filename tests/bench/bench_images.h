// SPDX-License-Identifier: Apache-2.0
//
// The images that are measured, made with qemu-img and qemu-io so that no contestant has made its
// own. In a chain of depth D every run (one 64 KiB cluster, unless said otherwise) of the disk
// lives in one layer, chosen by a hash: each layer holds 1/D of the data and neighbours come from
// different layers, which is the case that costs a chain most.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace chainfs::bench {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kClusterSize = uint64_t{64} << 10;

// A raw file full of data.
void MakeRaw(const std::string& path, uint64_t size);

// DIR/layer-1.qcow2 (the base) .. DIR/layer-`depth`.qcow2; the path of the last. Creates DIR. `run`
// is a multiple of kClusterSize.
std::string MakeChain(const std::string& dir, uint64_t depth, uint64_t size,
                      uint64_t run = kClusterSize);

// A copy of a top image beside it under another name, so that two contestants can have one each.
std::string CopyBeside(const std::string& image, const std::string& name);

// A copy of a directory with all its images, which shares their blocks where the host can. What was
// there is replaced.
void CopyDirectory(const std::string& from, const std::string& to);

// A new empty overlay beside `base`, replacing one of that name. `options`: of -o.
std::string MakeOverlay(const std::string& base, const std::string& name,
                        const std::string& options = "compat=1.1");

// A fully allocated image that holds only metadata: its data are holes in the file.
void MakeAllocatedSparse(const std::string& path, uint64_t size);

// `count` disks of mixed kinds, with the layers some of them need.
void MakeManyChains(const std::string& dir, int count);

}  // namespace chainfs::bench
