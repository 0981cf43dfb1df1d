#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hold docs/memory-model.md against every atomic access in the sources.

usage: check_atomics.py [--list] [ROOT]

An access is a call of load64_acquire() and its kin, of __atomic_…, atomic_…, of liburcu's rcu_… for
pointers, of a fence, of os_futex_…, or os_membarrier…(). It has a place, "file: object", the object being
the first argument without its `&`, with `[]` for each index (with a `*` before it where the argument is a
pointer), and orders by which it stores and loads. A read-modify-write stores.

In the document each row of a table with a column "in the code" names such places there, and in the columns
"stored" and "loaded" the orders, in code spans. Each place of the code is in exactly one row, each place
of a row is in the code, the orders of a row are those of its places, and each object that a declaration
or a comment says is atomic has a row. Paths below regionmgr/ stand without that.
"""
import functools
import os
import re
import sys

DOCUMENT = "docs/memory-model.md"
FOLDERS = ("pool", "ipc", "dimensions", "regionmgr")
DOORS = ("ipc/atomic.h", "pool/os.c", "pool/os.h")  # they define what is looked for
ORDERS = ("relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst", "init")
CALL = re.compile(r"""\b(?:
    (?P<word>load|store)(?:32|64)_(?P<word_order>relaxed|acquire|release) |
    __atomic_(?P<builtin>load_n|store_n|exchange_n|compare_exchange_n|\w+_fetch|fetch_\w+) |
    __atomic_(?P<fence>thread|signal)_fence |
    atomic_(?P<c11>init|load|store|exchange|fetch_[a-z]+|compare_exchange_(?:weak|strong))
        (?P<explicit>_explicit)? |
    (?P<rcu>rcu_dereference|rcu_assign_pointer|rcu_set_pointer|rcu_xchg_pointer) |
    (?P<system>os_futex_wait|os_futex_wake|os_membarrier\w*)
    )\s*\(""", re.X)
OTHER = re.compile(r"\b(?:__atomic_|__sync_|atomic_(?!uint|bool|size|ulong)|uatomic_|cmm_|CMM_|"
                   r"memory_order_|_Atomic\b)\w*")
DECLARED = re.compile(r"\b(?:atomic_(?:bool|uint\w*|size_t|ulong)|_Atomic\([^)]*\)[^;=]*?)\s+\*?(\w[^;()]*);")
SAID = re.compile(r"\b(\w+);\s*/\*(?:(?!\*/).)*\batomic\b")
RCU = {"rcu_dereference": (set(), {"consume"}), "rcu_assign_pointer": ({"release"}, set()),
       "rcu_set_pointer": ({"release"}, set()), "rcu_xchg_pointer": ({"seq_cst"}, set())}


def without_comments(text):
    """Comments and strings become blanks, lines stay."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"',
                  lambda match: re.sub(r"[^\n]", " ", match.group(0)), text, flags=re.S)


def arguments(text, start):
    """The arguments of a call whose parenthesis opens before `start`."""
    depth, begin, found = 0, start, []
    for at in range(start, len(text)):
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}" and depth:
            depth -= 1
        elif text[at] == ")" or (text[at] == "," and not depth):
            found.append(" ".join(text[begin:at].split()))
            begin = at + 1
            if text[at] == ")":
                return found
    return found


def object_of(argument):
    for filled, empty in ((r"\[(?!\])[^\[\]]*\]", "[]"), (r"\((?!\))[^()]*\)", "()")):
        while re.search(filled, argument):
            argument = re.sub(filled, empty, argument)
    return argument[1:] if argument.startswith("&") else "*" + argument


def orders_in(text, macros):
    """The orders that an argument names, by a constant or a macro of the tree."""
    found = {order.lower() for order in re.findall(r"(?:__ATOMIC_|memory_order_)(\w+)", text)}
    return found or macros.get(text, set())


def access(match, given, macros):
    """(object, orders of stores, orders of loads) of one call."""
    if match["fence"]:
        return "%s fence %s" % (match["fence"], "/".join(orders_in(given[0], macros))), set(), set()
    if match["system"]:
        return "%s(%s)" % (match["system"], object_of(given[0]) if given[0] else ""), set(), set()
    if match["rcu"]:
        by_value = match["rcu"] in ("rcu_dereference", "rcu_assign_pointer")
        return (object_of("&" * by_value + given[0]), *RCU[match["rcu"]])
    name = match["word"] or match["builtin"] or match["c11"]
    last = [orders_in(argument, macros) for argument in given[-2:]]
    if match["word"]:
        last = [set(), {match["word_order"]}]
    elif match["c11"] and not match["explicit"]:
        last = [{"init" if name == "init" else "seq_cst"}] * 2
    if not last[-1]:
        raise ValueError("no order in %s%s)" % (match.group(0), ", ".join(given)))
    if name.startswith("compare_exchange"):
        return object_of(given[0]), last[0], last[1]
    return (object_of(given[0]), *((set(), last[-1]) if name.startswith("load") else (last[-1], set())))


def sources_of(root):
    for folder in FOLDERS:
        for base, _, names in sorted(os.walk(os.path.join(root, folder))):
            for name in sorted(names):
                path = os.path.relpath(os.path.join(base, name), root)
                if name.endswith((".c", ".h", ".def")) and path not in DOORS:
                    with open(os.path.join(root, path), encoding="utf-8") as file:
                        yield re.sub("^regionmgr/", "", path), file.read()


@functools.lru_cache(maxsize=None)
def read_source(path, text):
    """The accesses of one source, as (match, arguments), and names declared or said to be atomic."""
    code = without_comments(text)
    bare = re.sub(r"^\s*#.*$", "", code, flags=re.M)
    for match in OTHER.finditer(CALL.sub("", re.sub(r"memory_order_\w+|_Atomic\(", "", bare))):
        raise ValueError("%s: what is %s?" % (path, match.group(0)))
    names = set(SAID.findall(text))
    for found in DECLARED.findall(code):
        found = re.sub(r"\[.*?\]|=.*", "", found, flags=re.S)
        names.update(name.strip(" *") for name in found.split(","))
    return [(match, arguments(bare, match.end())) for match in CALL.finditer(bare)], names


def read_code(sources):
    """Places with their orders, and atomic names with their files."""
    places, names, macros = {}, {}, {}
    for _, text in sources:
        for name, order in re.findall(r"^#define (\w+)\s+__ATOMIC_(\w+)$", text, re.M):
            macros.setdefault(name, set()).add(order.lower())
    for path, text in sources:
        calls, found = read_source(path, text)
        names.update(dict.fromkeys(found, path))
        for match, given in calls:
            name, stored, loaded = access(match, given, macros)
            for side, orders in zip(places.setdefault("%s: %s" % (path, name), (set(), set())), (stored, loaded)):
                side.update(orders)
    return places, names


def rows_of(document):
    """(line, places, orders of stores, of loads) of each row of the tables that name places."""
    columns = None
    for number, line in enumerate(document.splitlines(), 1):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            columns = None
        elif "in the code" in cells:
            columns = {cell: at for at, cell in enumerate(cells)}
        elif columns and not re.fullmatch(r"[-| ]+", line):
            spans = re.findall(r"`([^`]+): ([^`]+)`", cells[columns["in the code"]])
            places = ["%s: %s" % (path, name) for path, names in spans for name in names.split(", ")]
            sides = [set(re.findall(r"`(%s)`" % "|".join(ORDERS), cells[columns[side]]))
                     if side in columns else set() for side in ("stored", "loaded")]
            yield number, places, *sides


def problems_of(document, sources):
    places, names = read_code(sources)
    known = {}
    for number, named, stored, loaded in rows_of(document):
        right = (set(), set())
        for place in named:
            if place not in places:
                yield "line %d: the code has no %s" % (number, place)
            elif place in known:
                yield "line %d: %s is in line %d already" % (number, place, known[place])
            known[place] = number
            for side, orders in zip(right, places.get(place, ())):
                side.update(orders)
        for side, said, orders in zip(("stored", "loaded"), (stored, loaded), right):
            if said != orders and set(named) <= set(places):
                yield "line %d: %s is %s in the code: %s" % (
                    number, "".join(named[:1]), side, ", ".join(sorted(orders)) or "not")
    for place in sorted(set(places) - set(known)):
        yield "no row has " + place
    objects = {re.split(r"->|\.|\*|: ", re.sub(r"[()\[\]]", "", place))[-1] for place in known}
    for name in sorted(set(names) - objects):
        yield "no row has the atomic %s of %s" % (name, names[name])


def main():
    root = os.path.abspath(([argument for argument in sys.argv[1:] if argument != "--list"] + ["."])[0])
    sources = list(sources_of(root))
    places = read_code(sources)[0]
    if "--list" in sys.argv:
        for place, sides in sorted(places.items()):
            print("\t".join([place] + [",".join(sorted(side)) for side in sides]))
        return 0
    with open(os.path.join(root, DOCUMENT), encoding="utf-8") as file:
        document = file.read()
    problems = list(problems_of(document, sources))
    for words in problems:
        print("%s: %s" % (DOCUMENT, words))
    print("%d places in %d rows, %d problems" % (len(places), len(list(rows_of(document))), len(problems)))
    return 1 if problems or not places else 0


if __name__ == "__main__":
    sys.exit(main())
