"""Programs written by hand, that several tests print, parse and draw."""

PREPARE = """\
func @prepare(%a: f64[N,4] from "hospital_a", %b: f64[M,4] from "hospital_b") -> f64[K,4] {
  %0: f64[4] = reduce[numpy.mean](%a) {axes=(0,)} loc("prep.py":12 in "prepare")
  %1: f64[N,4] = elementwise[numpy.subtract](%a, %0) loc("prep.py":12 in "prepare")
  %2: f64[M+N,4] = concat(%1, %b) {axis=0} loc("prep.py":13)
  %3: f64[M+N] = slice(%2) {index=((None, None, None), -1)}
  %4: f64[] = constant {value=-0.5}
  %5: bool[M+N] = elementwise[numpy.greater](%3, %4)
  %6: i64[K] = filter(%5) {size=K}
  %7: f64[K,4] = gather(%2, %6) {axis=0}
  record(%6) {slot=0}
  return %7
}"""

TABLE = """\
func @"one hot"(%p: table<age: i64?, "work class": str?, y: f64>[N] from "a/b") -> (table<age: i64?, job: u8[V]>[N], f64[N]) {
  %0: str[N] = slice(%p) {column="work class"}
  %1: str[V] = reduce[table.unique](%0) {axes=(0,), size=V}
  %2: table<job: u8[V]>[N] = elementwise[table.equal](%0, %1) {spread=((0,), (1,)), family="job"}
  %3: table<age: i64?>[N] = slice(%p) {columns=("age",)}
  %4: table<age: i64?, job: u8[V]>[N] = concat[table.with_columns](%3, %2) {axis=1}
  %5: f64[N] = slice(%p) {column="age"}
  return %4, %5
}"""

SHAPES = """\
func @shapes(%x: f32[N,28,28], %w: f32[784,10]) -> (f32[N,10], i64[N,10], f32[(N+1)//2,784], f32[3,784,N]) {
  %0: f32[N,784] = reshape(%x) {shape=(N, 784)}
  %1: f32[N,10] = contract[numpy.matmul](%0, %w) {spec="ab,bc->ac"}
  %2: i64[N,10] = sort(%1) {axis=0}
  %3: f32[N,10] = scan[numpy.cumsum](%1) {axis=1}
  %4: f32[(N+1)//2,784] = slice(%0) {index=((None, None, -2),)}
  %5: f32[784,N] = transpose(%0) {axes=(1, 0)}
  %6: f32[3,784,N] = broadcast(%5) {shape=(3, 784, N)}
  %7: i64[N] = iota {size=N}
  %8: f64[N] = opaque[scipy.special.expit](%7) {shape=(N,)}
  return %3, %2, %4, %6
}"""

TURNS = """\
func @turns(%w: f64[4,3], %h: f64[2,3], %x: f64[9,2,4] from "series") -> (f64[2,3], f64[9,2], f64[2,3], f64[2,3]) {
  %0: f64[2,3] = loop[jax.scan](%w, %h, %x) {constants=1, carries=1, length=9, result=0} loc("turns.py":4 in "f")
    func @body(%w: f64[4,3], %h: f64[2,3], %x: f64[2,4]) -> (f64[2,3], f64[2]) {
      %0: f64[2,3] = contract[numpy.matmul](%x, %w) {spec="ab,bc->ac"} loc("turns.py":3 in "step")
      %1: f64[2,3] = elementwise[numpy.add](%h, %0)
      %2: f64[2] = reduce[numpy.sum](%h) {axes=(1,)}
      return %1, %2
    }
  %1: f64[9,2] = loop[jax.scan](%w, %h, %x) {constants=1, carries=1, length=9, result=1} as %0 loc("turns.py":4 in "f")
  %2: bool[] = reduce[numpy.any](%1) {axes=(0, 1)}
  %3: f64[2,3] = branch[numpy.cond](%2, %0, %h)
    func @otherwise(%a: f64[2,3], %b: f64[2,3]) -> f64[2,3] {
      return %a
    }
    func @then(%a: f64[2,3], %b: f64[2,3]) -> f64[2,3] {
      %0: f64[2,3] = elementwise[numpy.add](%a, %b)
      return %0
    }
  %4: f64[2,3] = loop[jax.while](%3) {carries=1}
    func @condition(%c: f64[2,3]) -> bool[] {
      %0: bool[] = reduce[numpy.any](%c) {axes=(0, 1)}
      return %0
    }
    func @body(%c: f64[2,3]) -> f64[2,3] {
      %0: bool[] = reduce[numpy.all](%c) {axes=(0, 1)}
      %1: f64[2,3] = branch[numpy.cond](%0, %c)
        func @otherwise(%a: f64[2,3]) -> f64[2,3] {
          %0: f64[2,3] = slice(%a) {index=((None, None, -1), (None, None, None))}
          return %0
        }
        func @then(%a: f64[2,3]) -> f64[2,3] {
          return %a
        }
      return %1
    }
  return %0, %1, %3, %4
}"""

PROGRAMS = {"prepare": PREPARE, "table": TABLE, "shapes": SHAPES, "turns": TURNS}
