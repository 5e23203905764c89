"""Where feature files live: h5 files and packed stores."""
