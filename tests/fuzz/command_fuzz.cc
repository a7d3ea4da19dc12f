// SPDX-License-Identifier: Apache-2.0
//
// What callers say: values of command attributes, and bytes of QMP clients. The input is a verb's
// number and the text. What is taken comes out again as it went in.
#include <string>

#include "ctl/qmp/message_splitter.h"
#include "ctl/verbs/arguments.h"
#include "ctl/verbs/job_id.h"
#include "ctl/verbs/verb_table.h"
#include "tests/fuzz/fuzz_input.h"

namespace chainfs {
namespace {

void TryVerb(size_t number, std::string_view text) {
  const verbs::Verb& verb = verbs::Verbs()[number % verbs::Verbs().size()];
  const auto arguments = verbs::Arguments::Parse(text, verb.keys);
  if (!arguments) {
    FUZZ_ASSERT(!arguments.error().message.empty());
    FUZZ_ASSERT(arguments.error().message.find('\n') == std::string::npos);
    return;
  }
  const auto again = verbs::Arguments::Parse(arguments->Format(), verb.keys);
  FUZZ_ASSERT(again && *again == *arguments);
}

void TryMessages(std::string_view text) {
  const auto split = [&](size_t piece) {
    qmp::MessageSplitter splitter;
    std::string found;
    for (size_t at = 0; at < text.size(); at += piece) {
      splitter.Feed(text.substr(at, piece));
      while (const auto item = splitter.Next()) {
        FUZZ_ASSERT(item->message.empty() != item->error.empty());
        found += item->message + "\n" + std::string(item->error) + "\n";
      }
    }
    return found;
  };
  // However the bytes arrive.
  FUZZ_ASSERT(split(1) == split(text.size() + 1));
}

}  // namespace
}  // namespace chainfs

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chainfs;
  FuzzInput input(data, size);
  const auto number = input.Take<uint8_t>();
  const std::string_view text = input.RestAsText();
  (void)verbs::IsLegalJobId(text);
  TryVerb(number, text);
  TryMessages(text);
  return 0;
}
