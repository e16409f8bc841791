//! Wall times of every case, for people: `cargo bench -p newim-gate [-- FILTER]`.

use criterion::Criterion;

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: newim_runtime::Allocator = newim_runtime::Allocator;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for case in newim_gate::cases::all() {
        criterion.bench_function(case.name, |bencher| {
            let mut warm = case.warm(None);
            bencher.iter(|| warm.turn());
        });
    }
    criterion.final_summary();
}
