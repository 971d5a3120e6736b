# packages.sh: makes sure that the packages of Debian or Ubuntu that nhac builds with are there. To be sourced.
# Installs with apt where it may (root, or sudo without a password), else names the command and returns 1.

# Name of the newest LLVM development package of the versions nhac is made for; 19 is preferred, being the tested one.
llvm_package() {
    local version
    for version in 19 20 21 22 18 17 16; do
        if dpkg-query -W -f='${Status}\n' "llvm-$version-dev" 2>/dev/null | grep -q '^install ok installed'; then
            echo "llvm-$version-dev"
            return
        fi
    done
    for version in 19 20 21 22 18 17 16; do
        if [ -n "$(apt-cache madison "llvm-$version-dev" 2>/dev/null)" ]; then
            echo "llvm-$version-dev"
            return
        fi
    done
    echo llvm-19-dev
}

# Prints those of the named packages that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' || echo "$package"
    done
}

# need_packages PACKAGE...: installs LLVM and the named packages where they are missing.
need_packages() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "no apt here: taking it that these are installed: $* and the headers of LLVM 16 or later" >&2
        return 0
    fi
    local missing as_root=()
    missing=$(missing_packages "$(llvm_package)" "$@")
    [ -z "$missing" ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
            echo "packages are missing, and this user cannot install them without a password. Please run:" >&2
            echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends" $missing >&2
            return 1
        fi
        as_root=(sudo -n)
    fi
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update </dev/null >/dev/null ||
        echo "apt-get update failed; going on with the package lists that are here" >&2
    missing=$(missing_packages "$(llvm_package)" "$@") # the lists may have brought a better LLVM
    echo "installing:" $missing
    local log
    # shellcheck disable=SC2086 # one word a package
    if ! log=$("${apt[@]}" install -y --no-install-recommends $missing </dev/null 2>&1); then
        printf '%s\n' "$log" >&2
        echo "apt-get could not install:" $missing >&2
        return 1
    fi
}
