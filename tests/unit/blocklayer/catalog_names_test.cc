// SPDX-License-Identifier: Apache-2.0
//
// Names and the files that they lead to: what happens when somebody puts another file in the place
// of one, and how names are walked.
#include <sys/stat.h>

#include <filesystem>

#include "blocklayer/io/posix.h"
#include "tests/unit/blocklayer/catalog_fixture.h"

namespace chainfs {
namespace {

using Names = std::vector<std::string>;

// A directory of the host in which somebody exchanges a file, just before it is opened.
class ExchangingDirectory final : public Directory {
 public:
  struct Exchange {
    std::string name;
    std::string contents;  // of the other file
    int skip = 0;          // so many openings find the file as it was made
  };
  ExchangingDirectory(std::unique_ptr<Directory> directory, Exchange& exchange)
      : Directory(directory->path()), directory_(std::move(directory)), exchange_(exchange) {}
  Result<std::unique_ptr<File>> Open(const std::string& name, OpenMode mode) override {
    const std::filesystem::path file = std::filesystem::path(path()) / name;
    if (name == exchange_.name && std::filesystem::exists(file) && exchange_.skip-- <= 0) {
      // A host that gives inode numbers away again gives the new file the old one's.
      std::filesystem::remove(file);
      WriteTextFile(file, exchange_.contents);
    }
    return directory_->Open(name, mode);
  }
  Result<std::unique_ptr<File>> Create(const std::string& name, mode_t permissions) override {
    return directory_->Create(name, permissions);
  }
  Status Rename(const std::string& from, const std::string& to) override {
    return directory_->Rename(from, to);
  }
  Status Remove(const std::string& name) override { return directory_->Remove(name); }
  Status MakeDirectory(const std::string& name, mode_t permissions) override {
    return directory_->MakeDirectory(name, permissions);
  }
  Result<std::unique_ptr<Directory>> OpenDirectory(const std::string& name) override {
    return directory_->OpenDirectory(name);
  }
  Result<std::unique_ptr<Directory>> OpenRealDirectory(const std::string& name) override {
    return directory_->OpenRealDirectory(name);
  }
  Result<FileId> WhereLeads(const std::string& name) override {
    return directory_->WhereLeads(name);
  }
  Result<std::vector<DirectoryEntry>> List() override { return directory_->List(); }
  Result<FileStat> Stat() override { return directory_->Stat(); }
  Status Sync() override { return directory_->Sync(); }

 private:
  const std::unique_ptr<Directory> directory_;
  Exchange& exchange_;
};

class CatalogNamesTest : public CatalogTest {};

TEST_F(CatalogNamesTest, AnOverlayThatIsExchangedWhileItIsMadeIsRefused) {
  MakeQcow2("vm1.qcow2");
  MakeOverlay("other", "vm1.qcow2");
  Qemu({"qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 64k", At("other")});
  for (int skip = 0; skip < 3; ++skip) {
    SCOPED_TRACE(skip);
    ExchangingDirectory::Exchange exchange{
        .name = "next.qcow2", .contents = ReadTextFile(At("other")), .skip = skip};
    CatalogOptions options;
    options.open_directory = [&](const std::string& path) -> Result<std::unique_ptr<Directory>> {
      CHAINFS_ASSIGN(std::unique_ptr<Directory> directory, OpenPosixDirectory(path));
      return std::make_unique<ExchangingDirectory>(std::move(directory), exchange);
    };
    ASSERT_TRUE(OpenAll(options));
    const auto made = catalog_->Snapshot(catalog_->Find("vm1"), {.target = "next.qcow2"});
    EXPECT_FALSE(made);
    EXPECT_TRUE(std::filesystem::exists(At("next.qcow2"))) << "it is somebody's";
    EXPECT_EQ(Peek(catalog_->Find("vm1"), 0, 1), std::string(1, 0));
    exchange.name.clear();
    catalog_.reset();
    std::filesystem::remove(At("next.qcow2"));
    std::filesystem::remove_all(At(".chainfs"));
  }
}

}  // namespace
}  // namespace chainfs
