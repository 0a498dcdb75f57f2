//! How products with many tokens are cut into jobs: by panels, and by tokens where nothing is done twice for it.

use std::ops::Range;

use super::{Finish, Rows, panels::PANEL, unsafe_blocks::Blocks};

/// Panels that a job unpacks for many tokens: while a few tokens' values are near, they serve all of them.
const PANELS_PER_JOB: usize = 4;

/// How the panels of a matrix are shared out, and go in pairs: neighbours, or one of the gate with the one that
/// it is for.
pub(super) struct Jobs {
    /// Columns of the output that a job makes.
    pub width: usize,
    /// Rows of the matrix, and how many of them make the output.
    rows: usize,
    left: usize,
}

/// Jobs that products are cut into at least, where nothing is done twice for it: the last ones of fewer would
/// keep others waiting.
const LEAST_JOBS: usize = 32;

/// Where the products with a pair of panels go.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The first rows of both panels.
    pub rows: [usize; 2],
    /// The first row of the output, and its column in the job's part.
    pub row: usize,
    pub column: usize,
    /// Panels that are left of the pair.
    pub panels: usize,
}

impl Jobs {
    pub(super) fn of(matrix: &dyn Rows, finish: &Finish) -> Self {
        let rows = matrix.shape().0;
        let left = finish.left(rows);
        // A gate's job has as many panels in all.
        let panels = PANELS_PER_JOB * left / rows.max(1);
        Self {
            width: panels.max(1) * PANEL,
            rows,
            left,
        }
    }

    /// The tokens of each block: multiples of a unit, several where panels need not be unpacked for each.
    pub(super) fn tokens(&self, count: usize, unit: usize, is_ready: bool) -> Vec<Range<usize>> {
        let beside = self.left.div_ceil(self.width).max(1);
        let parts = if is_ready {
            LEAST_JOBS.div_ceil(beside)
        } else {
            1
        };
        let each = count.div_ceil(parts).next_multiple_of(unit).max(unit);
        let starts = (0..count).step_by(each);
        starts.map(|start| start..count.min(start + each)).collect()
    }

    /// The blocks of some tokens each.
    pub(super) fn blocks<'t>(&self, tokens: &'t [Range<usize>]) -> Blocks<'t> {
        Blocks {
            row_length: self.left,
            rows: tokens,
            columns: 0..self.left,
            width: self.width,
        }
    }

    /// A job's panels, by their first row and how many they are, and those that go with them.
    pub(super) fn panels(&self, job: usize) -> ((usize, usize), Option<(usize, usize)>) {
        let first = job * self.width;
        let panels = (self.left - first).min(self.width).div_ceil(PANEL);
        let others = (self.left < self.rows).then_some((self.left + first, panels));
        ((first, panels), others)
    }

    /// Of one of a job's pairs.
    pub(super) fn place(&self, job: usize, pair: usize) -> Place {
        let has_gate = self.left < self.rows;
        let panels = if has_gate { 1 } else { 2 };
        let column = pair * panels * PANEL;
        let row = job * self.width + column;
        let other = if has_gate { self.left } else { PANEL };
        Place {
            rows: [row, row + other],
            row,
            column,
            panels,
        }
    }
}
