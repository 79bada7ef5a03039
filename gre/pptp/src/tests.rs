//! Both ends against each other, and against what a test says.

mod calls;
mod wire;
