//! Rules under test, natively.
