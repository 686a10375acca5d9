# Sourced by compare.sh and scaling.sh: their options, and the program that they measure.
here=$(cd "$(dirname "$0")" && pwd)
sluice=${SLUICE:-$here/../build/sluice}
fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

# take NAMES WORD..: what follows --NAME goes into a variable of that name, words without an option into words.
take() {
    names=" $1 " words=
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) usage; exit 0 ;;
        --*)
            [ $# -gt 1 ] || fail "$1 needs a value"
            case ${1#--} in *[!a-z-]*) usage >&2; exit 2 ;; esac
            case $names in *" ${1#--} "*) ;; *) usage >&2; exit 2 ;; esac
            eval "$(echo "${1#--}" | tr - _)=\$2"
            shift 2 ;;
        *)
            words="$words $1"
            shift ;;
        esac
    done
    [ -x "$sluice" ] || fail "no program $sluice: build it, or name it: SLUICE=.../sluice"
}
