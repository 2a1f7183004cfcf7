//! A parallel map over parts of a list. The results are in the order of the parts, whatever the
//! number of threads.

use std::sync::{Mutex, PoisonError};

/// Applies `work` to each part, on at most `threads` threads. The results are in the order of the
/// parts. If `work` panics, the panic reaches the caller.
pub(crate) fn parallel_map<T: Send, R: Send>(
    threads: usize,
    parts: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    if threads <= 1 || parts.len() <= 1 {
        return parts.into_iter().map(work).collect();
    }
    let threads = threads.min(parts.len());
    let mut results: Vec<Option<R>> = Vec::new();
    results.resize_with(parts.len(), || None);
    let waiting = Mutex::new(parts.into_iter().zip(results.iter_mut()));
    let take = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        let busy = || {
            while let Some((part, result)) = take() {
                *result = Some(work(part));
            }
        };
        for _ in 1..threads {
            scope.spawn(busy);
        }
        busy();
    });
    drop(waiting);
    // No result is missing: a panic of a thread would have left the scope.
    results.into_iter().flatten().collect()
}

/// Splits a list into parts of `size` items; the last part may be shorter.
pub(crate) fn split_into_parts<T>(list: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut parts = Vec::with_capacity(list.len().div_ceil(size));
    let mut list = list.into_iter();
    loop {
        let part: Vec<T> = list.by_ref().take(size).collect();
        if part.is_empty() {
            return parts;
        }
        parts.push(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_parts_for_any_number_of_threads() {
        for threads in [1, 2, 3, 16] {
            let parts = split_into_parts((0..1000).collect(), 7);
            assert_eq!(parts.len(), 143);
            let sums = parallel_map(threads, parts, |part| part.into_iter().sum::<i32>());
            assert_eq!(
                (sums[0], sums[142], sums.len()),
                (21, 994 + 995 + 996 + 997 + 998 + 999, 143)
            );
        }
    }
}
