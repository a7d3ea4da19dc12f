// SPDX-License-Identifier: Apache-2.0
//
// A file that says it is a qcow2 image: its header with all extensions, opening it, checking it.
// The input is the file.

#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/mem_host.h"

namespace chainfs {
namespace {

void Explore(std::span<const std::byte> bytes) {
  const auto host = MemHost::Create();
  host->PutFile("a.qcow2", bytes);
  const auto open = [&](OpenMode mode) { return *host->OpenRoot()->Open("a.qcow2", mode); };
  const auto file = open(OpenMode::kReadOnly);
  (void)qcow2::ReadQcow2Header(*file);
  MetadataCache cache(256 << 10);
  // Reading changes nothing, whatever the image asks for.
  if (auto image = OpenQcow2Image(open(OpenMode::kReadOnly), cache, {.owner = cache.NewOwner()})) {
    (void)(*image)->Map(GuestOffset(0), 1 << 20, MapDetail::kPrecise);
  }
  (void)CheckQcow2(*file);
  const std::vector<std::byte> after = host->Contents("a.qcow2");
  FUZZ_ASSERT(std::ranges::equal(after, bytes));
}

}  // namespace
}  // namespace chainfs

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chainfs::Explore(std::as_bytes(std::span(data, size)));
  return 0;
}
