#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/memory-model.md is held against every atomic access (scripts/check_atomics.py), and that check sees
what is planted in copies of the document and of the sources.
"""
import os
import sys

ROOT = os.environ.get("RGM_TEST_SOURCE_DIR") or os.path.join(os.path.dirname(__file__), "../..")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts"))
import check_atomics  # noqa: E402

# (in the document or in this source, what stands there, what instead, what has to be said)
PLANTED = [
    (None, " `manager/table.c: table->header->current`", "", "no row has manager/table.c: table->header->current"),
    (None, "| `acquire` by sleepers |", "| `relaxed` by sleepers |", "is loaded in the code: acquire"),
    (None, "| `acquire` by sleepers |", "| by sleepers |", "is loaded in the code: acquire"),
    (None, "| `release`, once |", "| `release`, once; `seq_cst` |", "is stored in the code: release"),
    (None, "`pool/crc32c.c: chosen`", "`pool/crc32c.c: chosen, gone`", "the code has no pool/crc32c.c: gone"),
    (None, "`daemon/log.c: dropped`", "`daemon/log.c: dropped` `pool/crc32c.c: chosen`", "is in line"),
    ("ipc/slot.h", "store64_release(&slot->word, version)", "store64_relaxed(&slot->word, version)",
     "is stored in the code: relaxed, release, seq_cst"),
    ("ipc/slot.h", "__atomic_thread_fence(__ATOMIC_SEQ_CST)", "__atomic_thread_fence(__ATOMIC_ACQ_REL)",
     "no row has ipc/slot.h: thread fence acq_rel"),
    ("ipc/slot.c", "__ATOMIC_ACQUIRE\n", "__ATOMIC_CONSUME\n", "acquire, consume, relaxed, seq_cst"),
    ("include/regionmgr/inline.h", "__atomic_signal_fence(__ATOMIC_SEQ_CST);", "",
     "the code has no include/regionmgr/inline.h: signal fence seq_cst"),
    ("pool/live.c", "__atomic_store_n(&live->map_page, page, __ATOMIC_RELEASE);", "live->map_page = page;",
     "the code has no pool/live.c: live->map_page"),
    ("manager/news.c", "os_futex_wake(news->word, bits, STEP)", "os_futex_wake(news->other, bits, STEP)",
     "no row has manager/news.c: os_futex_wake(*news->other)"),
    ("manager/writer.c", "manager->loads, 1, memory_order_relaxed", "manager->loads, 1, memory_order_acq_rel",
     "is stored in the code: acq_rel"),
    ("reader/reader.h", "atomic_uint_least64_t swept;", "atomic_uint_least64_t swept, swept_too;",
     "no row has the atomic swept_too of reader/reader.h"),
    ("ipc/format.h", "enum ipc_table_flags */", "atomic, enum ipc_table_flags */",
     "no row has the atomic flags of ipc/format.h"),
]


def main():
    with open(os.path.join(ROOT, check_atomics.DOCUMENT), encoding="utf-8") as file:
        document = file.read()
    sources = list(check_atomics.sources_of(ROOT))
    failures = 0
    for path, old, new, words in PLANTED:
        texts = dict(sources)
        texts[None] = document
        if old not in texts[path]:
            failures += 1
            print("%s has no '%s' to plant something in" % (path or check_atomics.DOCUMENT, old))
            continue
        texts[path] = texts[path].replace(old, new)
        copy = texts.pop(None)
        problems = list(check_atomics.problems_of(copy, list(texts.items())))
        if not any(words in problem for problem in problems):
            failures += 1
            print("'%s' instead of '%s': not seen: '%s', but %s" % (new, old, words, problems))
    try:
        list(check_atomics.problems_of(document, sources + [("x.c", "uatomic_inc(&x);")]))
        failures += 1
        print("an access that is not known is not seen")
    except ValueError as error:
        print("planted, seen: %s" % error)
    print("%d planted, %d not seen" % (len(PLANTED) + 1, failures))
    sys.argv = [sys.argv[0], ROOT]
    return check_atomics.main() or (1 if failures else 0)


if __name__ == "__main__":
    sys.exit(main())
