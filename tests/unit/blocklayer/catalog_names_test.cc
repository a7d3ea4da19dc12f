// SPDX-License-Identifier: Apache-2.0
//
// Names and the files that they lead to: what happens when somebody puts another file in the place
// of one, and how names are walked.
#include <sys/stat.h>

#include <filesystem>

#include "blocklayer/io/posix.h"
#include "blocklayer/name_records.h"
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
  const std::string other = ReadTextFile(At("other"));
  // While it lies there, it is one more that is built on vm1.
  std::filesystem::remove(At("other"));
  for (int skip = 0; skip < 3; ++skip) {
    SCOPED_TRACE(skip);
    ExchangingDirectory::Exchange exchange{.name = "next.qcow2", .contents = other, .skip = skip};
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

TEST_F(CatalogNamesTest, ANameOnceShownStaysWhenAFileOfTheSameStemAppears) {
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), Names{"vm1"});
  EXPECT_FALSE(std::filesystem::exists(At(".chainfs"))) << "nothing to remember yet";
  WriteTextFile(At("vm1.img"), std::string(4096, 'x'));
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.img"}));
  for (const bool read_only : {false, true}) {
    SCOPED_TRACE(read_only);
    ASSERT_TRUE(OpenAll({.read_only = read_only}));
    EXPECT_EQ(Shown(), (Names{"vm1", "vm1.img"}));
    EXPECT_EQ(catalog_->Find("vm1")->chain()->active->name, "vm1.qcow2");
  }
  // It stays with the chain, whatever a snapshot makes active, and is no new disk's.
  ASSERT_TRUE(OpenAll());
  ASSERT_TRUE(catalog_->Snapshot(catalog_->Find("vm1"), {}));
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(catalog_->Find("vm1")->chain()->active->name, "vm1.1.qcow2");
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.img", "vm1.qcow2"}));
}

TEST_F(CatalogNamesTest, ANameRecordThatMakesNoSenseDoesNotCount) {
  MakeQcow2("vm1.qcow2");
  MakeQcow2("vm2.qcow2");
  ASSERT_EQ(::mkdir(At(".chainfs").c_str(), 0700), 0);
  WriteTextFile(At(".chainfs/name-vm9"), "version=1\nname=vm9\nimage=gone.qcow2\n");
  WriteTextFile(At(".chainfs/name-a"), "version=1\nname=a/b\nimage=vm1.qcow2\n");
  WriteTextFile(At(".chainfs/name-b"), "version=2\nname=b\nimage=vm1.qcow2\n");
  WriteTextFile(At(".chainfs/name-c"), "version=1\nname=d\nimage=vm1.qcow2\n");
  WriteTextFile(At(".chainfs/name-e"), "version=1\nname=e\nimage=vm2.qcow2\n");
  ASSERT_EQ(::chmod(At(".chainfs/name-e").c_str(), 0666), 0);
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"vm1", "vm2"}));
  EXPECT_TRUE(catalog_->Broken().empty());
}

TEST(NameRecordTest, ReadsWhatItWrites) {
  const NameRecord record = {.name = "a\\b", .image = "a\\b.qcow2"};
  EXPECT_EQ(ParseNameRecord(FormatNameRecord(record)), record);
  EXPECT_FALSE(ParseNameRecord(""));
  EXPECT_FALSE(ParseNameRecord("version=1\nname=a\n"));
  EXPECT_FALSE(ParseNameRecord("version=1\nname=a\nimage=a.txt\n"));
}

}  // namespace
}  // namespace chainfs
