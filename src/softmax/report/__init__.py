"""Tables and plots of a fitted model: one HTML file without outside links."""
