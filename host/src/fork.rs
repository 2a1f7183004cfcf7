//! Work in parts, on some threads, with the results in the order of the parts: which thread did what shows nowhere.

use std::sync::{Mutex, PoisonError};

/// Does the parts on so many threads.
pub(crate) fn fork<T: Send, R: Send>(threads: usize, parts: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
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
    // A thread that panicked has ended the scope with its panic.
    results.into_iter().flatten().collect()
}

/// Cuts a list into parts of so many.
pub(crate) fn parts_of<T>(list: Vec<T>, size: usize) -> Vec<Vec<T>> {
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
    fn results_come_in_the_order_of_their_parts_on_however_many_threads() {
        for threads in [1, 2, 3, 16] {
            let parts = parts_of((0..1000).collect(), 7);
            assert_eq!(parts.len(), 143);
            let sums = fork(threads, parts, |part| part.into_iter().sum::<i32>());
            assert_eq!((sums[0], sums[142], sums.len()), (21, 994 + 995 + 996 + 997 + 998 + 999, 143));
        }
    }
}
