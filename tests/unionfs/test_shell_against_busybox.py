"""The built-in shell against busybox's: the same line in the same tree comes to the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unionfs.shell_lab import (
    BUSYBOX,
    Place,
    applets,
    by_busybox,
    fill,
    flat_tree,
    union_tree,
)

pytestmark = pytest.mark.skipif(not BUSYBOX, reason="busybox is not installed")

LINES = r"""
ls
ls -a
ls -1 d etc
ls -A
ls -R
ls f d link
ls dlink
ls -d d dlink
ls -l f link dead d/run big hole
ls -l d
ls -lh big b1 f hole
ls -ln f
ls -r
ls -S
ls nope f
ls loop
ls dead
ls f/x
cat f
cat f d/g
cat nope f
cat d
cat link
cat dead
cat loop
cat f/
cat "with space"
cat with\ space
cat < f
cat < nope
echo hi | cat - f
head f
head -n 1 f
head -n 2 f d/g
head -1 f
head -c 5 f
head nope
head -n 0 f
tail f
tail -n 1 f
tail -2 f
tail -c 4 f
tail -n +2 f
tail -c +5 f
tail f d/g
tail nope
wc f
wc -l f
wc -w f d/g
wc -c < f
wc f nope d/g
cat f | wc -l
echo a   b 'c  d' "e  f"
echo -n x
echo -e 'a\tb\n\x41\0101\\'
echo -e 'a\cb'
echo -E 'a\tb'
echo -ne 'a\n'
echo -z
echo '#no' a#b #comment
echo $? "$?" '$?' \$? $
nope; echo $?
nope 2> /dev/null || echo $?
false || echo a && echo b
true && false; echo $?
false && echo a; echo $?
true || echo a; echo b
echo "a\$b\"c\d\\" 'x\y' a\ b
echo "$HOME" ~ ~/x '~'
echo "" '' a
echo *
echo a*
echo *1 ?1 [ab]1 [!a]1 [^b]1 [a-b]*
echo */* d/*/h
echo nope* "a*" a\*
echo .*
echo d*/
echo [[:alpha:]]1 [z-a]* [
printf '%s-%d\n' a 1 b 2
printf '%5s|%-5s|%05d|%x|%X|%o|%c|%%|%b\n' a b 7 255 255 8 xyz 'a\tb'
printf 'a\tb\101\x41\n'
printf '%d %d %s\n' 0x10 010
printf '%.2s|%8.3s|\n' abcdef abcdef
printf '%d\n' zz
printf '%*d|\n' 5 3
printf x
printf '%s\n'
echo one > new; cat new
echo one > f; cat f
echo four >> f; cat f
> empty_one; ls
echo x > d
echo x > nope/x
echo x > link; cat f
echo x > dead; cat nowhere
echo x > loop
echo x 2> errs >&2; cat errs
nope 2> errs; ls errs
ls nope f > both 2>&1; cat both
cat f > copy; cat copy
cp f copy; cat copy
cp f d
cp f d/g; cat d/g
cp -r d copy; ls -R copy
cp -a d copy; ls -lR copy
cp -p f copy; ls -l copy
cp f d/run empty
cp d copy
cp nope copy
cp f f
cp f nope/x
cp f d nope
cp link copy; ls -l copy
cp -d link copy; cat copy
cp -r dlink copy; ls -l copy
cp -r d d/e
cp -r f d empty
cp f dead
cp d/run copy; ls copy
cp -a f d/same empty
mv f new; cat new
mv f d
mv f d/g; cat d/g
rm d/same; mv d new; ls -R new
rm d/same; mv d empty; ls -R empty
mv empty d/e; ls -R d
mv nope x
mv d f
mv f nope/x
mv d d/e
mv f link; cat link
mv link new; ls -l new
mv f d/run empty
mv f b1 nope
mv f d/same; ls
mv -n f b1; cat f
mv dead new
rm f; ls
rm nope
rm -f nope
rm d
rm -r d; ls
rm -rf d nope; ls
rm f nope b1; ls
rm link; cat f
rm -r dlink
rm .
rm -rf ..
rm *1; ls
rm -r d && mkdir d && ls -a d
rmdir empty; ls
rmdir d
rmdir nope
rmdir f
mkdir new; ls -R new
mkdir d
mkdir nope/x
mkdir -p x/y/z d/e; ls -R x
mkdir -p f/x
mkdir -m 700 new; stat -c %a new
mkdir a b c; ls
mkdir -p x/y && rmdir -p x/y && ls
touch new; ls -l none
touch f; cat f
touch nope/x
touch -c nope
touch -d '2020-01-02 03:04:05' f; stat -c %Y f
touch -d @86400 f new; stat -c %Y f new
touch -t 202001020304.05 f; stat -c %Y f
touch -r d/g new; stat -c %Y new
touch -d yesterday f
chmod 600 f; stat -c %a f
chmod u+x,go-r f; stat -c %a f
chmod a=r f; stat -c %a f
chmod +x f; stat -c %a f
chmod -x d/run; stat -c %a d/run
chmod u=rwx,g=u,o= f; stat -c %a f
chmod -R go= d; ls -lR d
chmod -R a+X d; ls -lR d
chmod 4755 f; ls -l f
chmod 1777 d; ls -ld d | head -c 10
chmod 600 link; stat -c %a f
chmod 644 nope
chmod zzz f
ln f new; stat -c %h f
ln -s f new; ls -l new
ln -s nope new; cat new
ln f d; ls d
ln f b1
ln -sf b1 link; cat link
ln nope x
ln d x
ln -s a nope/x
ln -s ../f d; cat d/f
find d | wc -l
find . -name 'a*'
find . -name f -type f
find d -type d
find nope
find . -type l -name 'd*'
find . -size +60k
find . -size 3c
find . -size -2c -type f
find . -maxdepth 1 -name '*1' ! -name 'a*'
find f
find d -name g -o -name h
find . -nope
find -name big
du -s empty
du big
du -h big
du d
du nope
du -a d/e
stat -c '%n %s %a %u %g %F %h' f d link none
stat -c %n nope
stat -L -c %F link
dd if=f of=new; cat new
dd if=f of=new bs=2 count=2; cat new
printf Z | dd of=f bs=1 count=1 conv=notrunc; cat f
printf Z | dd of=f bs=1 seek=4 conv=notrunc; cat f
printf Z | dd of=f bs=1 seek=4; cat f
dd if=f bs=1 skip=4 count=3
dd if=nope of=x
dd if=f of=nope/x
dd if=f of=new bs=4; cat new
truncate -s 3 f; cat f
truncate -s 5 new; stat -c %s new
truncate -s 1k f; stat -c %s f
truncate -c -s 5 nope; ls
cd d && cat g
cd dlink; cat g
cd nope
cd f
cd d; cd ..; cat f
cd d/e; cat ../g ../../f
echo 'unclosed
echo "unclosed
;
a ;; b
&& a
echo a &&
echo >
| a
echo a |
echo a; ; echo b
nope
./f
./d/run/x
d
""".strip().splitlines()

STAMP = re.compile(rb"\b[A-Z][a-z]{2} [ \d]\d +(\d\d:\d\d|20(?!17)\d\d)\b")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return applets(tmp_path_factory.mktemp("busybox") / "bin")


def _errors(text: bytes) -> list[bytes]:
    """Return what is complained of, without busybox's long usage."""
    found = []
    for line in text.splitlines():
        if line.startswith((b"BusyBox v", b"usage: ")):
            break
        line = re.sub(rb"(cd): line \d+:", rb"\1:", line)
        # Records of dd, without the time it took.
        if not re.match(rb"\d+ bytes .* copied", line):
            found.append(line)
    return found


def _out(line: str, text: bytes) -> list[bytes]:
    text = STAMP.sub(b"NOW", text)
    # A merged folder has one link, as on overlayfs; sizes of folders are the disk's.
    text = re.sub(rb"^(d[-rwxst]{9}) +\d+ (.{17}) +\d+ ", rb"\1 \2 ", text, flags=re.M)
    text = re.sub(rb"^total \d+$", b"total", text, flags=re.M)
    lines = text.splitlines(keepends=True)
    return sorted(lines) if line.startswith(("find", "du")) else lines


@pytest.mark.parametrize("line", LINES)
def test_a_line_does_what_it_does_in_busybox(line: str, tmp_path: Path, commands: Path) -> None:
    flat, below, top = (tmp_path / name for name in ("flat", "below", "top"))
    for folder in (flat, below, top):
        folder.mkdir()
    fill(flat)
    fill(below)
    before = flat_tree(below)
    place = Place(top, below)
    try:
        expected = by_busybox(line, flat, commands)
        place.shell.session.home = b"/"
        found = place.run(line)
        assert _out(line, found.out) == _out(line, expected.out)
        assert _errors(found.errors) == _errors(expected.errors)
        assert found.status == expected.status
        ours, theirs = union_tree(place), flat_tree(flat)
        # The roots are pytest's.
        assert {**ours, b"": ()} == {**theirs, b"": ()}
    finally:
        place.close()
    assert flat_tree(below) == before, "a branch below was changed"


# How a shell was started, and its number, is each one's own; `$''` and the command `[` are
# busybox's alone.
words = st.text("ab *?[]$\\'\"#~;!-\té", max_size=12).filter(
    lambda text: re.search(r"\$[-$']|;\W*\[", text) is None
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=words)
def test_quotes_mean_what_they_mean_in_busybox(text: str, tmp_path: Path, commands: Path) -> None:
    line = f"printf '<%s>\\n' {text}"
    top = tmp_path / "top"
    top.mkdir(exist_ok=True)
    place = Place(top)
    try:
        place.shell.session.home = b"/"
        found = place.run(line)
    finally:
        place.close()
    expected = by_busybox(line.encode(), top, commands)
    assert found.out == expected.out
    assert found.status == expected.status
