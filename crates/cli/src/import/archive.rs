//! The zip around a backup, read without trusting it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Seek};

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::ImportError;
use super::error::LineProblem;

/// How much a backup may unpack to. An archive that exceeds one is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of `config.json`.
    pub(crate) config: u64,
    /// Bytes of one line (one entity).
    pub(crate) line: u64,
    /// Bytes of one entity file that are let through whatever its compression.
    pub(crate) free: u64,
    /// Past that, how many times its compressed size a file may have. Text stays well below it.
    pub(crate) ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { config: 64 << 20, line: 64 << 20, free: 64 << 20, ratio: 250 }
    }
}

/// A file with the entities of a namespace.
#[derive(Clone, Debug)]
pub(super) struct EntityFile {
    /// Its name in the zip.
    pub(super) name: String,
    /// The namespace.
    pub(super) etype: String,
    /// Its size as the archive declares it.
    pub(super) bytes: u64,
    place: usize,
}

/// An opened backup.
pub(super) struct Archive<R> {
    zip: ZipArchive<R>,
    limits: Limits,
    config: usize,
    entities: BTreeMap<String, EntityFile>,
    stored_files: usize,
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the table of contents.
    pub(super) fn open(source: R, limits: Limits) -> Result<Self, ImportError> {
        let mut zip = ZipArchive::new(source).map_err(ImportError::NotZip)?;
        let mut config = None;
        let mut entities = BTreeMap::new();
        let mut stored_files = 0;
        for place in 0..zip.len() {
            let file = zip.by_index_raw(place).map_err(ImportError::NotZip)?;
            let name = file.name().map_err(ImportError::NotZip)?.into_owned();
            if name == "config.json" {
                config = Some(place);
            } else if let Some(etype) =
                name.strip_prefix("entities/").and_then(|name| name.strip_suffix(".jsonl"))
            {
                let etype = etype.to_owned();
                let file = EntityFile { name, etype: etype.clone(), bytes: file.size(), place };
                entities.insert(etype, file);
            } else if name.starts_with("files/") && !name.ends_with('/') {
                stored_files += 1;
            }
        }
        let config = config.ok_or(ImportError::NoConfig)?;
        Ok(Self { zip, limits, config, entities, stored_files })
    }

    /// The text of `config.json`.
    pub(super) fn config(&mut self) -> Result<Vec<u8>, ImportError> {
        let name = "config.json";
        let (place, limit) = (self.config, self.limits.config);
        let mut bytes = Vec::new();
        let read = open(&mut self.zip, place, name)?.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| ImportError::Damaged { file: name.to_owned(), source })?;
        if bytes.len() as u64 > limit {
            return Err(ImportError::TooLarge {
                file: name.into(),
                what: format!("{limit} bytes"),
            });
        }
        Ok(bytes)
    }

    /// Number of stored files.
    pub(super) const fn file_count(&self) -> usize {
        self.stored_files
    }

    /// Size of all entity files together, as the archive declares it.
    pub(super) fn entity_bytes(&self) -> u64 {
        self.entities.values().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// The entity files, which must be those that the counts speak of.
    pub(super) fn entity_files(
        &self,
        counts: &BTreeMap<String, u64>,
    ) -> Result<Vec<EntityFile>, ImportError> {
        for (etype, count) in counts {
            if *count > 0 && !self.entities.contains_key(etype) {
                return Err(ImportError::Incomplete(format!(
                    "`entities/{etype}.jsonl` is missing, which should hold {count} entities"
                )));
            }
        }
        match self.entities.values().find(|file| !counts.contains_key(&file.etype)) {
            Some(file) => Err(ImportError::Incomplete(format!(
                "`config.json` has no count for `{}`",
                file.name
            ))),
            None => Ok(self.entities.values().cloned().collect()),
        }
    }

    /// The lines of an entity file.
    pub(super) fn lines(&mut self, file: &EntityFile) -> Result<Lines<'_, R>, ImportError> {
        let limits = self.limits;
        let unpacked = open(&mut self.zip, file.place, &file.name)?;
        let most = unpacked.compressed_size().saturating_mul(limits.ratio).max(limits.free);
        Ok(Lines {
            file: file.name.clone(),
            reader: BufReader::with_capacity(1 << 16, unpacked),
            line: Vec::new(),
            number: 0,
            read: 0,
            line_max: limits.line,
            read_max: most,
        })
    }
}

fn open<'a, R: Read + Seek>(
    zip: &'a mut ZipArchive<R>,
    place: usize,
    name: &str,
) -> Result<ZipFile<'a, R>, ImportError> {
    zip.by_index(place).map_err(|source| match source {
        ZipError::Io(source) => ImportError::Damaged { file: name.to_owned(), source },
        source => ImportError::Unreadable { file: name.to_owned(), source },
    })
}

/// One line of an entity file.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// Without its end.
    pub(super) bytes: &'a [u8],
    /// Counted from one.
    pub(super) number: u64,
    /// Bytes of the file up to the end of this line.
    pub(super) end: u64,
}

/// Reads a file line by line. Reading to the end also checks the file's check sum.
pub(super) struct Lines<'a, R: Read> {
    file: String,
    reader: BufReader<ZipFile<'a, R>>,
    line: Vec<u8>,
    number: u64,
    read: u64,
    line_max: u64,
    read_max: u64,
}

impl<R: Read> Lines<'_, R> {
    /// The next line that is not blank.
    pub(super) fn next_line(&mut self) -> Result<Option<Line<'_>>, ImportError> {
        loop {
            self.line.clear();
            let read = self.read_line()?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.read += read;
            if self.read > self.read_max {
                let what = format!("{} bytes", self.read_max);
                return Err(ImportError::TooLarge { file: self.file.clone(), what });
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some(Line { bytes: self.line.trim_ascii(), number: self.number, end: self.read }))
    }

    fn read_line(&mut self) -> Result<u64, ImportError> {
        let mut limited = (&mut self.reader).take(self.line_max + 1);
        let read = limited.read_until(b'\n', &mut self.line).map_err(|source: io::Error| {
            ImportError::Damaged { file: self.file.clone(), source }
        })?;
        if read as u64 > self.line_max {
            let problem = LineProblem::TooLong(self.line_max);
            return Err(ImportError::line(&self.file, self.number + 1, problem));
        }
        Ok(read as u64)
    }
}
