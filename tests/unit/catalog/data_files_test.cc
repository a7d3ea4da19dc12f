// SPDX-License-Identifier: Apache-2.0
//
// External data files: permitted by a directory that the user names, and nowhere else.
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class DataFilesTest : public CatalogTest {
 protected:
  // As `name` stands in the header; the file itself is made where qemu-img finds it.
  void MakeImage(const std::string& image, const std::string& name) {
    const CommandResult made = RunCommand({"qemu-img", "create", "-q", "-f", "qcow2", "-o",
                                           "data_file=" + name, At("srv/" + image), "1M"},
                                          {.working_directory = At("srv")});
    ASSERT_TRUE(made.ok()) << made.Describe();
  }
  void SetUp() override {
    for (const char* name : {"srv", "data", "out"}) {
      ASSERT_TRUE(RunCommand({"mkdir", At(name)}).ok());
    }
  }
  Status OpenPermitting(std::vector<std::string> data_dirs) {
    return Open({{.path = At("srv"), .name = {}, .format = {}}},
                {.data_dirs = std::move(data_dirs)});
  }
};

TEST_F(DataFilesTest, IsRefusedWithTheCureAndNotOpened) {
  MakeImage("a.qcow2", At("data/a.raw"));
  ASSERT_TRUE(OpenPermitting({}));
  const Error error = BrokenError("a");
  EXPECT_EQ(error.kind, ErrorKind::kAccess);
  EXPECT_NE(error.message.find("-o data_dirs=" + At("data")), std::string::npos) << error.message;
  ASSERT_TRUE(OpenPermitting({At("out")}));
  EXPECT_EQ(BrokenError("a").kind, ErrorKind::kAccess);

  ASSERT_TRUE(OpenPermitting({At("out"), At("data")}));
  ASSERT_EQ(Shown(), (std::vector<std::string>{"a"})) << BrokenError("a").message;
  Fill(catalog_->Disks().front(), 4096, 512, 'x');
  EXPECT_EQ(ReadTextFile(At("data/a.raw")).substr(4096, 512), std::string(512, 'x'));
}

TEST_F(DataFilesTest, ABackingDirectoryDoesNotPermitIt) {
  MakeImage("a.qcow2", At("data/a.raw"));
  ASSERT_TRUE(
      Open({{.path = At("srv"), .name = {}, .format = {}}}, {.backing_dirs = {At("data")}}));
  EXPECT_EQ(BrokenError("a").kind, ErrorKind::kAccess);
}

TEST_F(DataFilesTest, ALinkOutOfThePermittedDirectoryIsRefused) {
  MakeImage("a.qcow2", At("out/a.raw"));
  ASSERT_TRUE(RunCommand({"ln", "-s", At("out/a.raw"), At("data/link.raw")}).ok());
  ASSERT_TRUE(RunCommand({"ln", "-s", At("out"), At("data/dir")}).ok());
  MakeImage("b.qcow2", At("out/b.raw"));
  for (const std::string name : {"link.raw", "dir/a.raw"}) {
    ASSERT_TRUE(RunCommand({"rm", At("srv/a.qcow2")}).ok());
    MakeImage("a.qcow2", At("data/" + name));
    ASSERT_TRUE(OpenPermitting({At("data")}));
    EXPECT_EQ(BrokenError("a").kind, ErrorKind::kAccess) << BrokenError("a").message;
  }
}

TEST_F(DataFilesTest, ANameIsAPathWhateverItLooksLike) {
  const std::string name = "json:{\"driver\":\"null-co\"}";
  MakeImage("a.qcow2", "plain-name-of-same-length");
  ASSERT_EQ(std::string("plain-name-of-same-length").size(), name.size());
  std::string bytes = ReadTextFile(At("srv/a.qcow2"));
  bytes.replace(bytes.find("plain-name-of-same-length"), name.size(), name);
  WriteTextFile(At("srv/a.qcow2"), bytes);
  ASSERT_TRUE(OpenPermitting({At("srv")}));
  EXPECT_EQ(BrokenError("a").kind, ErrorKind::kNotFound) << BrokenError("a").message;
  ASSERT_TRUE(RunCommand({"mv", At("srv/plain-name-of-same-length"), At("srv/" + name)}).ok());
  ASSERT_TRUE(OpenPermitting({At("srv")}));
  EXPECT_EQ(Shown(), (std::vector<std::string>{"a"})) << BrokenError("a").message;
}

TEST_F(DataFilesTest, ARecordIsNone) {
  ASSERT_TRUE(RunCommand({"mkdir", "-m", "700", At("srv/.chainfs")}).ok());
  MakeImage("a.qcow2", ".chainfs/name-a");
  ASSERT_TRUE(OpenPermitting({At("srv")}));
  EXPECT_NE(BrokenError("a").message.find("is a record"), std::string::npos)
      << BrokenError("a").message;
}

TEST_F(DataFilesTest, IsNoDiskByItself) {
  MakeImage("vm.qcow2", "data.raw");
  ASSERT_TRUE(OpenPermitting({At("srv")}));
  ASSERT_EQ(Shown(), (std::vector<std::string>{"vm"})) << BrokenError("vm").message;
  EXPECT_NE(BrokenError("data").message.find("holds the data of vm"), std::string::npos)
      << BrokenError("data").message;
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Shown(), (std::vector<std::string>{"vm"}));
}

// QEMU lets others write it who do not change its size, but no second image that has it.
TEST_F(DataFilesTest, IsLockedAsByQemu) {
  MakeImage("a.qcow2", At("data/a.raw"));
  Qemu({"cp", At("srv/a.qcow2"), At("out/copy.qcow2")});
  const auto opens = [&](const std::vector<std::string>& how) {
    std::vector<std::string> words = {"qemu-io", "-f", "qcow2", "-c", "read 0 512"};
    words.insert(words.end(), how.begin(), how.end());
    words.push_back(At("out/copy.qcow2"));
    return RunCommand(words).ok();
  };
  ASSERT_TRUE(opens({}));
  ASSERT_TRUE(OpenPermitting({At("data")}));
  ASSERT_EQ(Shown(), (std::vector<std::string>{"a"}));
  EXPECT_FALSE(opens({}));
  EXPECT_FALSE(opens({"-r"}));
  Qemu({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2",
        At("srv/top.qcow2"), "1M"});
  RescanTwice();
  EXPECT_FALSE(opens({}));
  EXPECT_TRUE(opens({"-r"})) << "beneath another one it is only read";
  catalog_.reset();
  EXPECT_TRUE(opens({}));
}

TEST_F(DataFilesTest, NamesItselfIsRefused) {
  MakeImage("a.qcow2", "a.qcow3");
  std::string bytes = ReadTextFile(At("srv/a.qcow2"));
  bytes.replace(bytes.find("a.qcow3"), 7, "a.qcow2");
  WriteTextFile(At("srv/a.qcow2"), bytes);
  ASSERT_TRUE(OpenPermitting({At("srv")}));
  EXPECT_EQ(Shown(), (std::vector<std::string>{}));
}

}  // namespace
}  // namespace chainfs
