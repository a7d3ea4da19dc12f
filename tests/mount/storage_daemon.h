// SPDX-License-Identifier: Apache-2.0
//
// The installed qemu-storage-daemon with some disks and a QMP socket: what chainfs is compared
// with.
#pragma once

#include <csignal>
#include <string>
#include <vector>

#include "tests/support/command.h"

namespace chainfs {

class StorageDaemon {
 public:
  // Each disk is the node of its name over DIRECTORY/NAME.qcow2. Somebody uses it, as a node
  // without users would go when another is put on it. Sockets lie in `sockets`.
  StorageDaemon(const std::string& directory, const std::vector<std::string>& disks,
                const std::string& sockets)
      : socket_(sockets + "/theirs.sock"), command_(WordsFor(directory, disks, sockets)) {}
  ~StorageDaemon() {
    command_.Signal(SIGTERM);
    command_.Wait();
  }
  StorageDaemon(const StorageDaemon&) = delete;
  StorageDaemon& operator=(const StorageDaemon&) = delete;

  const std::string& socket() const { return socket_; }

 private:
  static std::vector<std::string> WordsFor(const std::string& directory,
                                           const std::vector<std::string>& disks,
                                           const std::string& sockets) {
    std::vector<std::string> words = {
        "qemu-storage-daemon",
        "--nbd-server",
        "addr.type=unix,addr.path=" + sockets + "/nbd.sock",
        "--chardev",
        "socket,id=qmp,server=on,wait=off,path=" + sockets + "/theirs.sock",
        "--monitor",
        "chardev=qmp"};
    for (const std::string& disk : disks) {
      words.insert(words.end(),
                   {"--blockdev",
                    "driver=qcow2,node-name=" + disk +
                        ",file.driver=file,file.filename=" + directory + "/" + disk + ".qcow2",
                    "--export", "type=nbd,id=export-" + disk + ",writable=on,node-name=" + disk});
    }
    return words;
  }

  const std::string socket_;
  Command command_;
};

}  // namespace chainfs
