"""What a data set carries: every metric by language, teacher and source, and how two data sets differ."""
