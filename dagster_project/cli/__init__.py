"""The console command `selfrepair`."""
