#!/bin/sh
# What the translator must refuse: refused.sh LUA TRANSLATE.LUA. Each line is one instruction that differs from a known one in a modifier,
# a type or an operand; its message has to name file, line, instruction and reason.
lua=$1 translate=$2 failed=0
dir=$(mktemp -d) && trap 'rm -r "$dir"' EXIT
while IFS='|' read -r instruction reason; do
    cat > "$dir/bad.ptx" <<PTX
.version 9.0
.target sm_80
.address_size 64
.visible .entry kernel(.param .u64 kernel_param_0)
{
	.reg .pred %p<3>;
	.reg .b16 %rs<3>;
	.reg .b32 %r<5>;
	.reg .f32 %f<5>;
	.reg .b64 %rd<3>;
	$instruction;
	ret;
}
PTX
    if "$lua" "$translate" "$dir/bad.ptx" "$dir/bad.cpp" 2> "$dir/message"; then
        echo "accepted: $instruction"; failed=1
    elif ! grep -qF "bad.ptx:11: " "$dir/message" || ! grep -qF "$instruction" "$dir/message" || ! grep -qF "$reason" "$dir/message"; then
        echo "$instruction: wanted '$reason':"; cat "$dir/message"; failed=1
    fi
    [ ! -e "$dir/bad.cpp" ] || { echo "wrote a translation: $instruction"; failed=1; rm "$dir/bad.cpp"; }
done <<'END'
bfind.shiftamt.u16 %r1, %r2|no such form
add.rna.f32 %f1, %f2, %f3|no such form
fma.rn.bf16x2.sat %r1, %r2, %r3, %r4|no such form
ld.global.L3::128B.u32 %r1, [%rd1]|no such form
ld.global.nc.evict.v2.f32 {%f1, %f2}, [%rd1]|no such form
mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r1, %r2}, {%f1, %f2, %f3, %f4}|no such form
wgmma.fence.sync.aligned|no such form
bar.sync 1|only 0
bar.sync 0, 64|no such operands
bar.sync %r1|only 0
ld.global.v4.u32 {%r1, %r2}, [%rd1]|no such operands
add.s32 %r1, %r2|no such operands
add.s64 %r1, %rd1, %rd2|destination
cp.async.cg.shared.global [%r1], [%rd1], 8|only 16
mul.wide.s32 %r1, %r2, %r3|destination
add.f32 %f1, %f2, %rs1|operand %rs1
add.s32 %r1, %r2, %r99|unknown operand
ld.global.u32 %r1, [%r2]|an address of 32 bits
call.uni (%r1), nowhere, (%r2)|unknown
cvt.sat.s64.u32 %rd1, %r1|no such form
END
exit $failed
