// SPDX-License-Identifier: Apache-2.0
//
// A virtual machine uses a flat disk (format=raw, cache=none) while the host takes a snapshot of it
// and streams its chain: a small Linux mounts the disk, writes files with checksums, flushes, and
// in the end verifies them all.
//
// The kernel is $CHAINFS_VM_KERNEL, or build/vm/6.1/vmlinuz of the source tree (fetched by
// packaging/install-deps test), or a cloud kernel in /boot. Its ext4, NVMe and serial drivers must
// be built in. It runs without hardware help (-accel tcg), which works everywhere and is slow.
#include <filesystem>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

std::string FindKernel() {
  if (const char* const given = std::getenv("CHAINFS_VM_KERNEL")) return given;
  if (const char* const source = std::getenv("CHAINFS_SOURCE_DIR")) {
    const std::string fetched = std::string(source) + "/build/vm/6.1/vmlinuz";
    if (fs::exists(fetched)) return fetched;
  }
  for (const auto& entry : fs::directory_iterator("/boot")) {
    const std::string name = entry.path().filename();
    if (name.starts_with("vmlinuz-") && name.find("-cloud") != std::string::npos) {
      return entry.path();
    }
  }
  return {};
}

// The only program of the guest. It says what it does on the serial console, and is told to come
// to an end by a line there.
constexpr const char* kInit = R"(#!/bin/busybox sh
/bin/busybox mkdir -p /bin /proc /sys /dev /mnt
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
end() { echo "VM-$1"; sync; poweroff -f; }
mount -t ext4 /dev/nvme0n1 /mnt || end FAILED-mount
cd /mnt
sha256sum -c -s seed.sum || end FAILED-seed
i=0
while :; do
  n=$((i % 24))
  dd if=/dev/urandom of=f$n bs=16k count=$((1 + i % 16)) conv=fsync 2>/dev/null || end FAILED-write
  sha256sum f$n >f$n.sum
  [ $((i % 4)) = 0 ] && sync
  [ $((i % 7)) = 6 ] && rm -f f$((i % 5)) f$((i % 5)).sum
  echo "VM-ROUND-$i."
  i=$((i + 1))
  if read -t 1 line; then break; fi
done
sync
echo 3 >/proc/sys/vm/drop_caches
for sum in *.sum; do
  sha256sum -c -s $sum || end FAILED-verify
done
cd /
umount /mnt || end FAILED-umount
end DONE
)";

// A cpio archive with busybox and the script above as /init.
void MakeInitramfs(const std::string& out) {
  const TempDir top;
  fs::create_directory(top / "bin");
  fs::create_directory(top / "dev");
  const fs::path busybox = MustRun({"/bin/sh", "-c", "printf %s \"$(command -v busybox)\""});
  ASSERT_FALSE(busybox.empty()) << "busybox (package busybox-static) is missing";
  fs::copy_file(busybox, top / "bin/busybox");
  WriteTextFile(top / "init", kInit);
  ASSERT_EQ(::chmod((top / "init").c_str(), 0755), 0);
  // The kernel opens this for /init before anything is mounted.
  MustRun({"mknod", top / "dev/console", "c", "5", "1"});
  MustRun({"/bin/sh", "-c", "cd \"$1\" && find . | cpio --quiet -o -H newc >\"$2\"", "sh",
           top.path(), out});
}

// base.qcow2: ext4 with a checked file of 12 MiB; vm.qcow2 on it.
void MakeDisk(const std::string& dir) {
  Random random;
  const TempDir making;
  fs::create_directory(making / "top");
  WriteRandomFile(making / "top/seed", 12 << 20, random);
  MustRun({"/bin/sh", "-c", "cd \"$1\" && sha256sum seed >seed.sum", "sh", making / "top"});
  MustRun({"mke2fs", "-q", "-t", "ext4", "-d", making / "top", making / "disk.raw", "96M"});
  MustRun({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", making / "disk.raw",
           dir + "/base.qcow2"});
  CreateQcow2(dir + "/vm.qcow2", {.backing = "base.qcow2"});
}

TEST(VmTest, AGuestLivesThroughASnapshotAndAStream) {
  const std::string kernel = FindKernel();
  ASSERT_FALSE(kernel.empty()) << "no kernel for the guest: run packaging/install-deps test, or "
                                  "set CHAINFS_VM_KERNEL to a vmlinuz with ext4 and NVMe built in";
  const TempDir dir;
  const TempDir outside;
  MakeDisk(dir.path());
  MakeInitramfs(outside / "initramfs");
  Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const std::string disk = daemon / "vm.raw";
  Command vm({"qemu-system-x86_64",
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
              "-kernel",
              kernel,
              "-initrd",
              outside / "initramfs",
              "-append",
              "console=ttyS0 quiet panic=-1",
              "-drive",
              "if=none,id=disk,format=raw,cache=none,discard=unmap,file=" + disk,
              "-device",
              "nvme,serial=flat,drive=disk"},
             {.guard = std::chrono::seconds(900)});
  ASSERT_TRUE(vm.WaitForOutput("VM-ROUND-2.")) << vm.Wait().Describe();
  ASSERT_EQ(Order(disk, "snapshot"), 0) << LastError(disk);
  EXPECT_EQ(LayersOf(disk).size(), 3u);
  ASSERT_TRUE(vm.WaitForOutput("VM-ROUND-4."));
  ASSERT_EQ(Order(disk, "stream", "id=j,speed=4M"), 0) << LastError(disk);
  const Json job = WaitForJob(disk, "j");
  EXPECT_FALSE(job.contains("error")) << job.dump();
  EXPECT_EQ(LayersOf(disk).size(), 1u);
  ASSERT_TRUE(vm.WaitForOutput("VM-ROUND-"));
  ASSERT_TRUE(vm.Write("enough\n"));
  const CommandResult result = vm.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_NE(result.out.find("VM-DONE"), std::string::npos) << result.Describe();
  const std::string active = Status(disk, "info")["active"];
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
  EXPECT_EQ(CheckImage(active), 0);
  // The image alone holds a sound file system.
  fs::rename(active, outside / "alone.qcow2");
  Flatten(outside / "alone.qcow2", "qcow2", outside / "flat");
  MustRun({"e2fsck", "-f", "-n", outside / "flat"});
}

}  // namespace
}  // namespace chainfs
