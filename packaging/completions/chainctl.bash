# SPDX-License-Identifier: Apache-2.0
# bash completion for chainctl(1)

# Values are asked of chainctl itself only where that is quick and harmless.
_chainctl_mounts() {
    local line field
    while read -r line; do
        [[ $line == *" - fuse.chainfs "* ]] || continue
        read -r _ _ _ _ field _ <<< "$line"
        printf '%b\n' "${field//\\/\\0}"
    done < /proc/self/mountinfo
}

_chainctl_reply() {
    local IFS=$'\n'
    mapfile -t COMPREPLY < <(compgen "$@" -- "$cur")
}

_chainctl() {
    local cur prev words cword split
    _init_completion -s 2> /dev/null || {
        cur=${COMP_WORDS[COMP_CWORD]}
        prev=${COMP_WORDS[COMP_CWORD-1]}
        words=("${COMP_WORDS[@]}")
        cword=$COMP_CWORD
    }
    local verbs='list info chain map stream mirror snapshot jobs wait cancel pause resume speed dismiss
        flush events create amend umount layers revert rebase resize bitmap thaw complete change
        commit
        max-layers trace
        transaction backup check'
    local common='--help --json'
    local waiting='--timeout --progress'

    local verb='' disk='' index=1 count=0
    for ((; index < cword; index++)); do
        case ${words[index]} in
            --base | --top | --speed | --compress | --on-error | --id | --generation | --timeout | \
                --progress | --target | --svg | --width | --size | --backing | --backing-format | -o | \
                --then | --copy-mode | --format | --sync | --priority | --layers | \
                --since | --overlay | --trace | --file | --add | --granularity | --remove | \
                --clear | --enable | --disable)
                ((index++))
                ;;
            -*) ;;
            *)
                if [[ -z $verb ]]; then
                    verb=${words[index]}
                else
                    ((count++)) || disk=${words[index]}
                fi
                ;;
        esac
    done
    if [[ -z $verb ]]; then
        _chainctl_reply -W "$(printf '%s\n' $verbs --help --version)"
        return
    fi

    case $prev in
        --base | --top | --since)
            local layers
            layers=$(chainctl chain --json "$disk" 2> /dev/null |
                grep -o '"filename":"[^"]*"' | cut -d'"' -f4 | sed 's|.*/||')
            _chainctl_reply -W "$layers"
            return
            ;;
        --target | --svg | --backing | --overlay)
            _chainctl_reply -f
            compopt -o filenames 2> /dev/null
            return
            ;;
        --backing-format | --format)
            _chainctl_reply -W $'qcow2\nraw'
            return
            ;;
        --repair)
            _chainctl_reply -W $'leaks\nall'
            return
            ;;
        --output)
            _chainctl_reply -W $'human\njson'
            return
            ;;
        --compress)
            _chainctl_reply -W $'none\nzlib\nzstd'
            return
            ;;
        --on-error)
            _chainctl_reply -W $'report\nignore\nstop\nenospc'
            return
            ;;
        --priority)
            _chainctl_reply -W $'low\nnormal\nhigh'
            return
            ;;
        --then)
            local ends=$'pivot\nkeep\nhold'
            [[ $verb == backup ]] && ends=$'drop\nhold'
            _chainctl_reply -W "$ends"
            return
            ;;
        --sync)
            local parts=$'full\ntop\nnone'
            [[ $verb == backup ]] && parts=$'full\ntop\nsince'
            _chainctl_reply -W "$parts"
            return
            ;;
        --copy-mode)
            _chainctl_reply -W $'background\nwrite-blocking'
            return
            ;;
        -o)
            local keys='cluster_size= extended_l2='
            [[ $verb != backup && $verb != amend ]] && keys+=' lazy_refcounts='
            [[ $verb == amend ]] && keys='compat= lazy_refcounts='
            [[ $verb == create || $verb == snapshot ]] && keys+=' compression_type='
            [[ $verb == create ]] && keys+=' compat= refcount_bits= preallocation='
            _chainctl_reply -W "$(printf '%s\n' $keys)"
            compopt -o nospace 2> /dev/null
            return
            ;;
        --speed | --id | --generation | --timeout | --progress | --width | --size | --add | \
            --granularity | --remove | --clear | --enable | --disable)
            return
            ;;
    esac

    if [[ $cur == -* ]]; then
        local options=$common
        case $verb in
            stream | mirror | snapshot | flush | cancel | pause | resume | dismiss | speed | revert | \
                rebase | resize | bitmap | thaw | complete | change | commit | max-layers | \
                trace | transaction | backup)
                options+=' --verbose --quiet'
                ;;
            info | chain | map | events | layers) ;;
            *) options+=' --quiet' ;;
        esac
        case $verb in
            map) options+=' --svg --width --lanes --bar' ;;
            stream) options+=" --base --top --speed --compress --on-error --priority --id --generation
                --dry-run --delete --trace --background $waiting" ;;
            trace) options+=' --file --stop' ;;
            commit) options+=" --base --top --speed --compress --on-error --priority --id --generation
                --dry-run --delete --reclaim --then --background $waiting" ;;
            mirror) options+=" --target --format --sync --copy-mode --then --existing -o --compress
                --speed --on-error --priority --id --generation --dry-run --background $waiting" ;;
            backup) options+=" --target --format --sync --since --then -o --overlay --compress
                --speed --on-error --priority --id --generation --dry-run --background
                $waiting" ;;
            snapshot) options+=' --target --existing -o --id --generation --dry-run' ;;
            wait) options+=" $waiting" ;;
            cancel) options+=" --background $waiting" ;;
            max-layers) options+=' --layers' ;;
            complete) options+=' --then' ;;
            change) options+=' --copy-mode --priority' ;;
            events) options+=' --follow --no-follow' ;;
            amend) options+=' -o' ;;
            create) options+=' --size --backing --backing-format -o' ;;
            check) options+=' --repair --format --output --backing-chain' ;;
            umount) options+=' --timeout' ;;
            revert) options+=' --yes' ;;
            transaction) options+=' --dry-run' ;;
            rebase) options+=" --base --format --top --unsafe --speed --on-error --priority --id
                --generation --dry-run --background $waiting" ;;
            resize) options+=' --shrink --generation --dry-run' ;;
            bitmap) options+=' --add --granularity --disabled --remove --clear --enable --disable
                --generation --dry-run' ;;
        esac
        _chainctl_reply -W "$(printf '%s\n' $options)"
        return
    fi

    case $verb in
        list | events | umount | layers | transaction)
            ((count == 0)) && _chainctl_reply -W "$(_chainctl_mounts)"
            ;;
        wait | cancel | pause | resume | dismiss | speed | complete | change)
            if ((count == 0)); then
                _chainctl_reply -f
                compopt -o filenames 2> /dev/null
            elif ((count == 1)); then
                _chainctl_reply -W "$(chainctl jobs -q "$disk" 2> /dev/null)"
            fi
            ;;
        revert)
            if ((count == 1)); then
                _chainctl_reply -W "$(chainctl chain --json "$disk" 2> /dev/null |
                    grep -o '"filename":"[^"]*"' | cut -d'"' -f4 | sed 's|.*/||')"
            elif ((count == 0)); then
                _chainctl_reply -f
                compopt -o filenames 2> /dev/null
            fi
            ;;
        *)
            ((count == 0)) && {
                _chainctl_reply -f
                compopt -o filenames 2> /dev/null
            }
            ;;
    esac
    return 0
}

complete -F _chainctl chainctl
