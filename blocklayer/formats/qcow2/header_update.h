// SPDX-License-Identifier: Apache-2.0
//
// Changing the header of an image in use. Every change takes effect by one aligned write of the
// first 512 bytes, which a crash leaves whole or undone.
//
// Crash ordering of a new backing file: the new name goes into free bytes of the first cluster, so
// that the old name stays whole; sync; the first sector (name's place and length, format); sync. A
// name that fits into the first sector itself is part of that one write. In between, the header is
// the old one.
//
// Preserved exactly: unknown extensions, unknown fields at the end of the header. Only entries at
// the end of the feature name table, which exists for error messages, are dropped when that makes
// the room for a backing format.
//
// Threads: none of its own; the caller keeps other changes of the header out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "blocklayer/base/result.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/image/image.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Reads the first 512 bytes, lets `change` edit them, writes them back in one write. No sync of its
// own. Refused (kIo) once the file is poisoned: what the change points to may not be on disk.
Status UpdateFirstSector(File& file, const std::function<void(HeaderSector)>& change);

// Whether SetBackingInHeader would succeed, as far as the bytes decide that; nothing is written.
// kInvalidArgument: the name or format can be stored in no image, or the name is too long for this
// one. kUnsupported: not as one atomic write; the message says what to do instead.
Status CanSetBacking(File& file, const Qcow2Header& header,
                     const std::optional<BackingReference>& backing);

// Sets or removes (nullopt) the backing file, durable on return; `header` then says so too. The
// caller has made everything durable that the new reference presumes. After a failure the header on
// disk is the old or the new one; if no write was tried, the old one.
Status SetBackingInHeader(File& file, Qcow2Header& header,
                          const std::optional<BackingReference>& backing);

// Sets the feature bits of a version 3 header in one sector write, and in `header` on success. No
// sync of its own. For version 2, which has no such bits: kInvalidArgument unless both are 0.
Status WriteFeatureBits(File& file, Qcow2Header& header, uint64_t incompatible, uint64_t autoclear);

}  // namespace chainfs::qcow2
