#!/bin/sh
# packages.sh: scripts/packages.sh against made-up dpkg, apt and sudo: what it asks for, installs, and says where it may not install.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
mkdir "$work/bin"

# A package is installed if a file of its name is in installed/, and can be had if one is in available/.
mkdir "$work/installed" "$work/available"
cat >"$work/bin/dpkg-query" <<'END'
#!/bin/sh
for package; do :; done
[ -e "$FAKE/installed/$package" ] && echo "install ok installed"
END
cat >"$work/bin/apt-cache" <<'END'
#!/bin/sh
[ "$1" = madison ] && [ -e "$FAKE/available/$2" ] && echo "$2 | 1.0 | somewhere"
exit 0
END
cat >"$work/bin/apt-get" <<'END'
#!/bin/sh
echo "$*" >>"$FAKE/apt.log"
for word; do
    case $word in
    update) exit 0 ;;
    -* | install) ;;
    *=*) ;;
    *) [ -e "$FAKE/available/$word" ] || exit 100
       touch "$FAKE/installed/$word" ;;
    esac
done
END
printf '#!/bin/sh\necho "$FAKE_UID"\n' >"$work/bin/id"
printf '#!/bin/sh\n[ -e "$FAKE/sudo" ] || exit 1\nshift\nexec "$@"\n' >"$work/bin/sudo"
chmod +x "$work"/bin/*
touch "$work/available/llvm-18-dev" "$work/available/cmake"

need() { # UID PACKAGE...
    uid=$1
    shift
    rm -f "$work/apt.log"
    FAKE=$work FAKE_UID=$uid PATH="$work/bin:$PATH" bash -c 'set -euo pipefail; . scripts/packages.sh; need_packages "$@"' need "$@" \
        >"$work/out" 2>&1
}
fail() {
    echo "$1"
    cat "$work/out"
    exit 1
}

# Neither root nor sudo: nothing is installed, and the exact command is named.
if need 1000 cmake; then fail "it claims success though packages are missing"; fi
grep -q 'sudo apt-get update && sudo apt-get install -y --no-install-recommends llvm-18-dev cmake' "$work/out" ||
    fail "the command is not named"
[ ! -e "$work/apt.log" ] || fail "it ran apt though it may not"

# Root: what is missing is installed; the second time there is nothing to do.
need 0 cmake || fail "root could not install"
[ -e "$work/installed/llvm-18-dev" ] && [ -e "$work/installed/cmake" ] || fail "something was not installed"
need 0 cmake || fail "the second run failed"
[ ! -e "$work/apt.log" ] || fail "the second run called apt"

# sudo without a password serves too.
rm "$work/installed/cmake"
touch "$work/sudo"
need 1000 cmake || fail "sudo could not install"
[ -e "$work/installed/cmake" ] || fail "sudo did not install"

# A package that cannot be had is a failure with its name; a newer LLVM that is installed already is taken.
if need 0 nonesuch; then fail "it claims success for a package that is not to be had"; fi
grep -q 'could not install: nonesuch' "$work/out" || fail "the missing package is not named"
rm "$work/installed/llvm-18-dev"
touch "$work/installed/llvm-20-dev"
need 0 cmake || fail "an installed LLVM was not taken"
[ ! -e "$work/apt.log" ] || fail "another LLVM was installed beside the one that is there"
echo "packages: all as it should be"
