// SPDX-License-Identifier: Apache-2.0
//
// A directory of images that name each other. The input is a line for each file:
// "NAME|BACKING|FORMAT" makes an overlay, "NAME|" a raw image.
// Whatever they say, the catalog opens, every image is a disk or has a reason, no file changes, and
// what is shown can be read.
#include <string>

#include "blocklayer/catalog/catalog.h"
#include "blocklayer/formats/qcow2/create.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/mem_host.h"

namespace chainfs {
namespace {

constexpr int kMostFiles = 12;

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

void MakeFiles(FuzzInput& input, MemHost& host) {
  const auto root = host.OpenRoot();
  for (int i = 0; i < kMostFiles && !input.empty(); ++i) {
    FuzzInput line = [&] {
      const std::string_view text = input.TakeText('\n');
      return FuzzInput(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    }();
    const std::string name(line.TakeText('|'));
    const std::string backing(line.TakeText('|'));
    const std::string format(line.RestAsText());
    if (!IsName(name) || host.Exists(name)) continue;
    if (backing.empty()) {
      host.PutFile(name, std::vector<std::byte>(4096, std::byte{0x5a}));
      continue;
    }
    // Names that no creation of ours would write are in the corpus of header_fuzz.
    (void)CreateQcow2(*root, name,
                      {.virtual_size = 64 << 10,
                       .cluster_bits = 9,
                       .backing = BackingReference{.name = backing, .format = format}});
  }
}

void Explore(FuzzInput input) {
  const auto host = MemHost::Create({.root_path = "/images"});
  MakeFiles(input, *host);
  const uint64_t before = host->Snapshot().Hash();
  CatalogOptions options = {.read_only = true, .max_depth = 8};
  options.open_directory = [&](const std::string& path) -> Result<std::unique_ptr<Directory>> {
    if (path != "/images") return FailErrno(ENOENT, path);
    return host->OpenRoot();
  };
  auto catalog = Catalog::Open({{.path = "/images"}}, options);
  FUZZ_ASSERT(catalog);
  for (const DiskPtr& disk : (*catalog)->Disks()) {
    std::vector<std::byte> bytes(std::min<uint64_t>(disk->size(), 4096));
    (void)disk->Read(GuestOffset(0), bytes);
    FUZZ_ASSERT(disk->chain()->AllLayers().size() <= 8);
  }
  for (const BrokenImage& broken : (*catalog)->Broken()) {
    FUZZ_ASSERT(!broken.error.message.empty());
    FUZZ_ASSERT(broken.error.message.find('\n') == std::string::npos);
  }
  FUZZ_ASSERT((*catalog)->Rescan());
  FUZZ_ASSERT((*catalog)->Close());
  FUZZ_ASSERT(host->Snapshot().Hash() == before);
}

}  // namespace
}  // namespace chainfs

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chainfs::Explore(chainfs::FuzzInput(data, size));
  return 0;
}
