// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/table_state.h"

namespace chainfs::qcow2 {

TableState::TableState(File& image, File& guest_data, MetadataCache& cache, uint64_t owner,
                       const Qcow2Header& header_read)
    : file(image),
      data(guest_data),
      geometry(header_read.geometry()),
      header(image, header_read),
      corruption(image.path()),
      slices(image, cache, owner, geometry),
      pending(pending_weight),
      refcounts(image.path(), slices, pending, geometry, header_read.refcount_table_offset),
      dereferences(image.path(), geometry, refcounts, overlap, pending),
      growth(Parts(), geometry),
      allocator(Parts(), growth, geometry),
      l1_to_change(std::make_unique<L1Table>(image, slices, geometry, header_read.l1_offset,
                                             header_read.l1_entries)),
      l1(*l1_to_change) {}

}  // namespace chainfs::qcow2
