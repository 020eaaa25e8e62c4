;; y = y + x W: a row vector times a matrix, in float32, four numbers at a time (SIMD).
;;
;; W is packed in panels of 32 columns (`pack` in product.mjs): all rows of the first 32 columns,
;; then all rows of the next 32. A panel's 32 sums stay in eight registers while its rows stream
;; through once, so a character of a network costs about as much as reading its weights.
;;
;; Built into product.wasm, which a test compares with this text:
;;   python -c "import wasmtime; print(wasmtime.wat2wasm(open('product.wat').read()).hex())"
(module
  (memory (import "engine" "memory") 1)
  (func (export "product")
    (param $x i32)       ;; address of x, $rows numbers
    (param $w i32)       ;; address of the panels
    (param $y i32)       ;; address of y, 32 numbers for each panel
    (param $rows i32)
    (param $panels i32)
    (local $at i32)      ;; address in x
    (local $end i32)     ;; address after x
    (local $s v128)      ;; a number of x, four times
    (local $y0 v128) (local $y1 v128) (local $y2 v128) (local $y3 v128)
    (local $y4 v128) (local $y5 v128) (local $y6 v128) (local $y7 v128)
    (local.set $end (i32.add (local.get $x) (i32.shl (local.get $rows) (i32.const 2))))
    (block $done
      (loop $panel
        (br_if $done (i32.eqz (local.get $panels)))
        (local.set $y0 (v128.load (local.get $y)))
        (local.set $y1 (v128.load offset=16 (local.get $y)))
        (local.set $y2 (v128.load offset=32 (local.get $y)))
        (local.set $y3 (v128.load offset=48 (local.get $y)))
        (local.set $y4 (v128.load offset=64 (local.get $y)))
        (local.set $y5 (v128.load offset=80 (local.get $y)))
        (local.set $y6 (v128.load offset=96 (local.get $y)))
        (local.set $y7 (v128.load offset=112 (local.get $y)))
        (local.set $at (local.get $x))
        (block $summed
          (loop $row
            (br_if $summed (i32.ge_u (local.get $at) (local.get $end)))
            (local.set $s (v128.load32_splat (local.get $at)))
            (local.set $y0 (f32x4.add (local.get $y0) (f32x4.mul (local.get $s) (v128.load (local.get $w)))))
            (local.set $y1 (f32x4.add (local.get $y1) (f32x4.mul (local.get $s) (v128.load offset=16 (local.get $w)))))
            (local.set $y2 (f32x4.add (local.get $y2) (f32x4.mul (local.get $s) (v128.load offset=32 (local.get $w)))))
            (local.set $y3 (f32x4.add (local.get $y3) (f32x4.mul (local.get $s) (v128.load offset=48 (local.get $w)))))
            (local.set $y4 (f32x4.add (local.get $y4) (f32x4.mul (local.get $s) (v128.load offset=64 (local.get $w)))))
            (local.set $y5 (f32x4.add (local.get $y5) (f32x4.mul (local.get $s) (v128.load offset=80 (local.get $w)))))
            (local.set $y6 (f32x4.add (local.get $y6) (f32x4.mul (local.get $s) (v128.load offset=96 (local.get $w)))))
            (local.set $y7 (f32x4.add (local.get $y7) (f32x4.mul (local.get $s) (v128.load offset=112 (local.get $w)))))
            (local.set $w (i32.add (local.get $w) (i32.const 128)))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br $row)))
        (v128.store (local.get $y) (local.get $y0))
        (v128.store offset=16 (local.get $y) (local.get $y1))
        (v128.store offset=32 (local.get $y) (local.get $y2))
        (v128.store offset=48 (local.get $y) (local.get $y3))
        (v128.store offset=64 (local.get $y) (local.get $y4))
        (v128.store offset=80 (local.get $y) (local.get $y5))
        (v128.store offset=96 (local.get $y) (local.get $y6))
        (v128.store offset=112 (local.get $y) (local.get $y7))
        (local.set $y (i32.add (local.get $y) (i32.const 128)))
        (local.set $panels (i32.sub (local.get $panels) (i32.const 1)))
        (br $panel)))))
