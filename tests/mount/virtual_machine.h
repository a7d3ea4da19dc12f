// SPDX-License-Identifier: Apache-2.0
//
// VirtualMachine: a small Linux that uses a flat disk (format=raw, cache=none, virtio) and keeps it
// busy; its program is tests/vm/vm_guest. It runs without hardware help (-accel tcg), which works
// everywhere and is slow.
//
// The kernel is that of build/vm/6.1 in the source tree (packaging/install-deps test fetches it),
// or of $CHAINFS_VM_KERNEL, a directory of the same kind: vmlinuz, with drivers for ext4 and the
// serial line built in, and modules/ with those of virtio in the order of modules/order.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>

#include "tests/mount/daemon.h"
#include "tests/mount/images.h"
#include "tests/support/qmp_client.h"

namespace chainfs {

class VirtualMachine {
 public:
  // Boots, and waits until the disk is in use. Check running().
  explicit VirtualMachine(const std::string& disk) {
    const std::string kernel = KernelDirectory();
    if (!std::filesystem::exists(kernel + "/modules/order")) {
      ADD_FAILURE() << "no kernel in " << kernel << ": run packaging/install-deps test";
      return;
    }
    MakeInitramfs(kernel);
    const std::string drive = "if=none,id=disk,format=raw,cache=none,discard=unmap,file=" + disk;
    vm_ = std::make_unique<Command>(
        std::vector<std::string>{"qemu-system-x86_64",
                                 "-accel",
                                 "tcg",
                                 "-m",
                                 "256",
                                 "-nodefaults",
                                 "-no-user-config",
                                 "-no-reboot",
                                 "-display",
                                 "none",
                                 "-serial",
                                 "stdio",
                                 "-qmp",
                                 "unix:" + files_ / "qmp" + ",server=on,wait=off",
                                 "-kernel",
                                 kernel + "/vmlinuz",
                                 "-initrd",
                                 files_ / "initramfs",
                                 "-append",
                                 "console=ttyS0 quiet panic=-1",
                                 "-drive",
                                 drive,
                                 "-device",
                                 "virtio-blk-pci,drive=disk"},
        CommandOptions{.guard = std::chrono::hours(2)});
    running_ = NextReply() == "goes";
  }

  bool running() const { return running_; }
  // Says a line on the console, and what the machine replies; a failure of the test, and "", when
  // it has failed.
  std::string Ask(const std::string& line) {
    if (!running_) return "";
    EXPECT_TRUE(vm_->Write(line + "\n"));
    return NextReply();
  }
  // Of the disk, as QEMU sees it; false if it does not take that size.
  bool Resize(uint64_t size) {
    QmpClient qmp(files_ / "qmp");
    qmp.Return("qmp_capabilities");
    return qmp.Return("block_resize", {{"device", "disk"}, {"size", size}}).is_object();
  }
  // Verifies everything once more, and switches off.
  CommandResult End() {
    EXPECT_EQ(Ask("end"), "ends");
    running_ = false;
    return vm_ != nullptr ? vm_->Wait() : CommandResult{};
  }

 private:
  static std::string KernelDirectory() {
    if (const char* const given = std::getenv("CHAINFS_VM_KERNEL")) return given;
    const char* const source = std::getenv("CHAINFS_SOURCE_DIR");
    return std::string(source != nullptr ? source : ".") + "/build/vm/6.1";
  }

  // A cpio archive with the program as /init, and the modules.
  void MakeInitramfs(const std::string& kernel) const {
    namespace fs = std::filesystem;
    const TempDir top;
    fs::create_directory(top / "dev");
    fs::copy(kernel + "/modules", top / "modules");
    fs::copy_file(BinaryPath("vm_guest"), top / "init");
    // The kernel opens this for /init before anything is mounted.
    MustRun({"mknod", top / "dev/console", "c", "5", "1"});
    MustRun({"/bin/sh", "-c", "cd \"$1\" && find . | cpio --quiet -o -H newc >\"$2\"", "sh",
             top.path(), files_ / "initramfs"});
  }

  std::string NextReply() {
    const std::optional<std::string> line = vm_->WaitForLine("VM-");
    constexpr std::string_view kReply = "REPLY ";
    if (line && line->starts_with(kReply)) return line->substr(kReply.size());
    running_ = false;
    ADD_FAILURE() << "the guest: " << (line ? *line : "is gone: " + vm_->Wait().Describe());
    return "";
  }

  const TempDir files_;
  std::unique_ptr<Command> vm_;
  bool running_ = false;
};

}  // namespace chainfs
