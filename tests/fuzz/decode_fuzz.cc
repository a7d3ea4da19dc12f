// SPDX-License-Identifier: Apache-2.0
//
// Compressed clusters. The input is the size of the cluster, the method, and the bytes. The same
// bytes decode to the same, whatever a decoder has seen before.
#include <vector>

#include "blocklayer/formats/qcow2/decompress.h"
#include "tests/fuzz/fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chainfs;
  FuzzInput input(data, size);
  const auto choice = input.Take<uint8_t>();
  const uint8_t method = choice % 3;  // zlib, zstd, none of them
  std::vector<std::byte> cluster(size_t{512} << choice / 3 % 13);
  const std::span<const std::byte> bytes = input.Rest();
  const Status decoded = qcow2::DecompressCluster(method, bytes, cluster);
  if (decoded) {
    std::vector<std::byte> again(cluster.size(), std::byte{0xaa});
    FUZZ_ASSERT(qcow2::DecompressCluster(method, bytes, again));
    FUZZ_ASSERT(again == cluster);
  }
  return 0;
}
