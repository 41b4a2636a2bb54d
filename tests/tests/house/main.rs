//! The house itself: its rules, what is generated from its sources, and what the test command says.

mod generated;
mod run_summary;
mod tidy;
